"""The generate stage for a report: its file of calls, streamed once, to counts, histograms and a time line.

Called by `reading`. Memory holds eight bytes a call for the exact median, and counts.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any

from stillhouse.dataset.lines import Row
from stillhouse.report.facts import Histogram, Left, Pace, PacePoint, TeacherModel, Teaching
from stillhouse.report.scores import ScoreTally
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest, GenerateRecordsResult

NO_ANSWER = frozenset({"blocked", "recitation", "empty"})
"""Reasons of calls that brought nothing to judge."""
SURPLUS = "surplus"
_MAX_INTERVALS = 48


def teaching_of(
    rows: Iterable[Row], request: GenerateRecordsRequest, result: GenerateRecordsResult, *, tiers: tuple[str, ...]
) -> Teaching:
    """The figures of the calls in `rows`; `tiers` is the order in which tiers are shown."""
    collector = _Collector()
    for row in rows:
        collector.take(row.values)
    return collector.teaching(request, result, tiers)


@dataclass
class _Model:
    calls: int = 0
    accepted: int = 0
    missing_blocks: int = 0
    repairs: int = 0
    repaired: int = 0
    scored: int = 0
    score_sum: float = 0.0
    tokens: int = 0
    cost_usd: float = 0.0
    seconds: array[float] = field(default_factory=lambda: array("d"))

    def take(self, call: Mapping[str, Any], score: float | None) -> None:
        accepted = call.get("accepted") is True
        self.calls += 1
        self.accepted += accepted
        self.missing_blocks += call.get("reason") == "missing_block"
        if call.get("kind") == "repair":
            self.repairs += 1
            self.repaired += accepted
        if score is not None:
            self.scored += 1
            self.score_sum += score
        self.tokens += sum(int(number(call, f"{kind}_tokens")) for kind in ("prompt", "completion", "thinking"))
        self.cost_usd += number(call, "cost_usd")
        self.seconds.append(number(call, "latency_seconds"))

    def line(self, name: str) -> TeacherModel:
        return TeacherModel(
            name,
            self.calls,
            self.accepted,
            self.missing_blocks,
            self.repairs,
            self.repaired,
            self.score_sum / self.scored if self.scored else None,
            self.tokens,
            self.cost_usd,
            median(self.seconds) if self.seconds else None,
        )


class _Collector:
    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}
        self._kinds: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._by_model = ScoreTally()
        self._by_tier = ScoreTally()
        self._pace = PaceCollector()

    def take(self, call: Mapping[str, Any]) -> None:
        """One line of the calls file; fields that are not there count as nothing."""
        name = str(call.get("model") or "unknown model")
        value = call.get("score")
        score = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        accepted = call.get("accepted") is True
        self._models.setdefault(name, _Model()).take(call, score)
        self._kinds[str(call.get("kind") or "first")] += 1
        if not accepted:
            self._reasons[str(call.get("reason") or "")] += 1
        if score is not None:
            self._by_model.add(name, score)
            self._by_tier.add(str(call.get("tier") or "no tier"), score)
        self._pace.take(
            str(call.get("asked_at") or ""), number(call, "latency_seconds"), accepted, number(call, "cost_usd")
        )

    def teaching(
        self, request: GenerateRecordsRequest, result: GenerateRecordsResult, tiers: tuple[str, ...]
    ) -> Teaching:
        """The figures of all calls so far."""
        lines = [model.line(name) for name, model in sorted(self._models.items(), key=lambda item: -item[1].calls)]
        accepted = sum(line.accepted for line in lines)
        bounds = {stage.min_score for stage in request.stages}
        bound = next(iter(bounds)) if len(bounds) == 1 else None
        shown: list[Histogram | None] = [
            self._by_model.histogram("Scores of the teacher’s answers, by model", of="answers", bound=bound),
            self._by_tier.histogram("Scores of the teacher’s answers, by tier", of="answers", bound=bound, order=tiers),
        ]
        seconds = [line.median_seconds for line in lines if line.median_seconds is not None]
        return Teaching(
            models=tuple(lines),
            calls=self._kinds.total(),
            calls_by_kind=_lefts(self._kinds),
            unread=_lefts({code: count for code, count in self._reasons.items() if code in NO_ANSWER}),
            refused=_lefts({code: count for code, count in self._reasons.items() if code not in NO_ANSWER}),
            accepted=accepted,
            records=result.record_count,
            cost_usd=result.cost_usd,
            median_seconds=self._median() if seconds else None,
            pace=self._pace.pace(),
            histograms=tuple(histogram for histogram in shown if histogram is not None),
        )

    def _median(self) -> float:
        together = array("d")
        for model in self._models.values():
            together.extend(model.seconds)
        return median(together)


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
