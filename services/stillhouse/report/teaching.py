"""The generate stage for a report: its file of calls, streamed once, to counts, histograms and a time line.

Called by `reading`. Memory holds some eight bytes a call, for the exact median and for scores, and counts.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from statistics import median
from typing import Any

from stillhouse.dataset.calls import CallFigures, ModelFigures
from stillhouse.dataset.lines import Row
from stillhouse.report.facts import Histogram, Left, Pace, PacePoint, TeacherModel, Teaching
from stillhouse.report.scores import ScoreTally
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest, GenerateRecordsResult

NO_ANSWER = frozenset({"blocked", "recitation", "empty"})
"""Reasons of calls that brought nothing to judge."""
SURPLUS = "surplus"
_MAX_INTERVALS = 48
_NOTHING: Mapping[str, Any] = {
    "concept": 0,
    "tier": "",
    "model": "unknown model",
    "kind": "first",
    "accepted": False,
    "reason": "",
    "score": None,
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "thinking_tokens": 0,
    "cost_usd": 0.0,
    "latency_seconds": 0.0,
    "asked_at": "",
}


def teaching_of(
    rows: Iterable[Row], request: GenerateRecordsRequest, result: GenerateRecordsResult, *, tiers: tuple[str, ...]
) -> Teaching:
    """The figures of the calls in `rows`; `tiers` is the order in which tiers are shown.

    Raises InvalidArgument that names file and line where a row is no call.
    """
    collector = _Collector()
    for row in rows:
        collector.take(row)
    return collector.teaching(request, result, tiers)


class _Collector:
    def __init__(self) -> None:
        self._figures = CallFigures()
        self._seconds: dict[str, array[float]] = {}
        self._kinds: Counter[str] = Counter()
        self._by_model = ScoreTally()
        self._by_tier = ScoreTally()
        self._pace = PaceCollector()

    def take(self, row: Row) -> None:
        """One line of the calls file; fields that are not there count as nothing."""
        call = {**_NOTHING, **row.values}
        self._figures.add_row(replace(row, values=call))
        model, seconds = str(call["model"]), number(call, "latency_seconds")
        self._seconds.setdefault(model, array("d")).append(seconds)
        self._kinds[str(call["kind"])] += 1
        if call["score"] is not None:
            self._by_model.add(model, number(call, "score"))
            self._by_tier.add(str(call["tier"] or "no tier"), number(call, "score"))
        self._pace.take(str(call["asked_at"]), seconds, bool(call["accepted"]), number(call, "cost_usd"))

    def teaching(
        self, request: GenerateRecordsRequest, result: GenerateRecordsResult, tiers: tuple[str, ...]
    ) -> Teaching:
        """The figures of all calls so far."""
        everything = self._figures.all_models
        ordered = sorted(self._figures.by_model.items(), key=lambda item: -item[1].calls)
        bounds = {stage.min_score for stage in request.stages}
        bound = next(iter(bounds)) if len(bounds) == 1 else None
        shown: list[Histogram | None] = [
            self._by_model.histogram("Scores of the teacher’s answers, by model", of="answers", bound=bound),
            self._by_tier.histogram("Scores of the teacher’s answers, by tier", of="answers", bound=bound, order=tiers),
        ]
        together = array("d")
        for seconds in self._seconds.values():
            together.extend(seconds)
        return Teaching(
            models=tuple(self._model(name, figures) for name, figures in ordered),
            calls=everything.calls,
            calls_by_kind=_lefts(self._kinds),
            unread=_lefts({code: count for code, count in everything.reasons.items() if code in NO_ANSWER}),
            refused=_lefts({code: count for code, count in everything.reasons.items() if code not in NO_ANSWER}),
            accepted=everything.accepted,
            records=result.record_count,
            cost_usd=result.cost_usd,
            median_seconds=median(together) if together else None,
            pace=self._pace.pace(),
            histograms=tuple(histogram for histogram in shown if histogram is not None),
        )

    def _model(self, name: str, figures: ModelFigures) -> TeacherModel:
        return TeacherModel(
            name,
            calls=figures.calls,
            accepted=figures.accepted,
            missing_blocks=figures.reasons["missing_block"],
            repairs=figures.repairs,
            repaired=figures.repairs_accepted,
            mean_score=figures.scores.mean if len(figures.scores) else None,
            tokens=figures.prompt_tokens + figures.completion_tokens + figures.thinking_tokens,
            cost_usd=figures.cost_usd,
            median_seconds=median(self._seconds[name]),
        )


class PaceCollector:
    """Calls by interval of time; the interval doubles whenever there would be too many, so memory is bounded."""

    def __init__(self) -> None:
        """Empty, with intervals of a second."""
        self._seconds = 1
        self._intervals: dict[int, tuple[int, int, float]] = {}

    def take(self, asked_at: str, latency_seconds: float, accepted: bool, cost_usd: float) -> None:  # noqa: FBT001
        """Counts a call at the moment of its answer; one without a readable time is left out."""
        try:
            asked = datetime.fromisoformat(asked_at)
        except ValueError:
            return
        if asked.tzinfo is None:
            asked = asked.replace(tzinfo=UTC)
        self._add(int((asked.timestamp() + latency_seconds) // self._seconds), 1, int(accepted), cost_usd)
        while max(self._intervals) - min(self._intervals) >= _MAX_INTERVALS:
            self._widen()

    def pace(self) -> Pace | None:
        """The intervals in order, empty ones included; None without a call."""
        if not self._intervals:
            return None
        points, cost = [], 0.0
        for interval in range(min(self._intervals), max(self._intervals) + 1):
            calls, accepted, spent = self._intervals.get(interval, (0, 0, 0.0))
            cost += spent
            start = datetime.fromtimestamp(interval * self._seconds, UTC)
            points.append(PacePoint(start, calls, accepted, cost))
        return Pace(self._seconds, tuple(points))

    def _add(self, interval: int, calls: int, accepted: int, cost_usd: float) -> None:
        before = self._intervals.get(interval, (0, 0, 0.0))
        self._intervals[interval] = (before[0] + calls, before[1] + accepted, before[2] + cost_usd)

    def _widen(self) -> None:
        narrow = self._intervals
        self._seconds *= 2
        self._intervals = {}
        for interval, figures in narrow.items():
            self._add(interval // 2, *figures)


def number(values: Mapping[str, Any], name: str) -> float:
    """A number of a JSON object; 0 where there is none."""
    value = values.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0


def _lefts(counts: Mapping[str, int]) -> tuple[Left, ...]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Left(code, count) for code, count in ordered if count)
