"""Figures of the calls that made a data set: by model, how often an answer was good, missing, repaired; tokens, cost.

Fed call by call (a line of a calls file each) by the generation, the command line and the report. Memory does not grow
with the calls but for eight bytes a score and a concept.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from stillhouse.dataset.lines import Row, read_rows
from stillhouse.dataset.statistics import JSON, RunningScores
from stillhouse.errors import InvalidArgument

RECORDS_OF_A_YARDSTICK = 400
"""Hours and cost are given for that many records: the size of the recorded pipeline's data set."""

LOW_SCORE = "low_score"
_BREAK_SECONDS = 60.0
_MOST_CONCEPTS = 10_000_000


class BusyTime:
    """Time in which there was a call, or at most a minute's pause between two: stops and nights do not count."""

    def __init__(self) -> None:
        """None yet."""
        self._spans: list[tuple[float, float]] = []

    def add(self, asked_at: str, latency_seconds: float) -> None:
        """Takes one call in; one without a time counts for nothing. Raises ValueError where it is no ISO 8601."""
        if not asked_at:
            return
        start = datetime.fromisoformat(asked_at).timestamp()
        end = start + latency_seconds
        # The spans that it touches are neighbours: they are sorted, and more than a break apart.
        first = bisect_left(self._spans, start - _BREAK_SECONDS, key=lambda span: span[1])
        last = bisect_right(self._spans, end + _BREAK_SECONDS, key=lambda span: span[0])
        touched = self._spans[first:last]
        if touched:
            start, end = min(start, touched[0][0]), max(end, touched[-1][1])
        self._spans[first:last] = [(start, end)]

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(end - start for start, end in self._spans)


class BestScores:
    """The best score of each concept, by its number; eight bytes a concept."""

    def __init__(self) -> None:
        """None yet."""
        self._best = array("d")

    def add(self, concept: int, score: float) -> None:
        """Takes one answer in. Raises ValueError for a number that no concept has."""
        if not 0 <= concept < _MOST_CONCEPTS:
            raise ValueError(f"concept {concept} is not within 0 and {_MOST_CONCEPTS}")
        self._best.extend([-1.0] * (concept + 1 - len(self._best)))
        self._best[concept] = max(self._best[concept], score)

    def at_least(self, threshold: float) -> int:
        """Concepts with an answer that reaches it."""
        return sum(score >= threshold for score in self._best)


@dataclass
class ModelFigures:
    """Counts of one model's calls."""

    calls: int = 0
    first_calls: int = 0
    first_accepted: int = 0
    missing_blocks: int = 0
    """First answers that lacked an output."""
    repairs: int = 0
    repairs_accepted: int = 0
    accepted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    thinking_tokens: int = 0
    cost_usd: float = 0.0
    latency_seconds: float = 0.0
    scores: RunningScores = field(default_factory=RunningScores)
    """Of every valid answer."""
    accepted_scores: RunningScores = field(default_factory=RunningScores)
    busy: BusyTime = field(default_factory=BusyTime)

    def add(self, row: Mapping[str, Any]) -> None:
        """Counts one call."""
        accepted, reason = bool(row["accepted"]), str(row["reason"])
        self.calls += 1
        if row["kind"] == "first":
            self.first_calls += 1
            self.first_accepted += accepted
            self.missing_blocks += reason == "missing_block"
        elif row["kind"] == "repair":
            self.repairs += 1
            self.repairs_accepted += accepted
        self.accepted += accepted
        if reason:
            self.reasons[reason] += 1
        self.prompt_tokens += int(row["prompt_tokens"])
        self.completion_tokens += int(row["completion_tokens"])
        self.thinking_tokens += int(row["thinking_tokens"])
        self.cost_usd += float(row["cost_usd"])
        self.latency_seconds += float(row["latency_seconds"])
        if row["score"] is not None:
            self.scores.add(float(row["score"]))
            if accepted:
                self.accepted_scores.add(float(row["score"]))
        self.busy.add(str(row["asked_at"]), float(row["latency_seconds"]))

    def as_json(self) -> dict[str, JSON]:
        """The counts, and what follows from them; null where there is nothing to divide by."""
        yardstick = RECORDS_OF_A_YARDSTICK / self.accepted if self.accepted else None
        return {
            "calls": self.calls,
            "accepted": self.accepted,
            "success_rate": _rate(self.accepted, self.calls),
            "first_success_rate": _rate(self.first_accepted, self.first_calls),
            "missing_block_rate": _rate(self.missing_blocks, self.first_calls),
            "repairs": self.repairs,
            "repair_success_rate": _rate(self.repairs_accepted, self.repairs),
            "reasons": dict(sorted(self.reasons.items())),
            "score_mean": self.accepted_scores.mean if len(self.accepted_scores) else None,
            "answered_score_mean": self.scores.mean if len(self.scores) else None,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "thinking_tokens": self.thinking_tokens,
            "cost_usd": self.cost_usd,
            "cost_per_record_usd": _rate(self.cost_usd, self.accepted),
            "calls_per_record": _rate(self.calls, self.accepted),
            "seconds_a_call": _rate(self.latency_seconds, self.calls),
            "hours_per_400": self.busy.seconds * yardstick / 3600 if yardstick else None,
            "cost_per_400_usd": self.cost_usd * yardstick if yardstick else None,
        }


@dataclass
class CallFigures:
    """Counts over all models. `dead_letters` are concepts that no attempt answered well."""

    by_model: dict[str, ModelFigures] = field(default_factory=dict)
    all_models: ModelFigures = field(default_factory=ModelFigures)
    dead_letters: int = 0
    best_scores: BestScores = field(default_factory=BestScores)
    """Of answers that only a threshold could refuse."""

    def add(self, row: Mapping[str, Any]) -> None:
        """Counts one line of a calls file. Raises KeyError, TypeError or ValueError where it is none."""
        self.all_models.add(row)
        self.by_model.setdefault(str(row["model"]), ModelFigures()).add(row)
        if row["score"] is not None and str(row["reason"]) in ("", LOW_SCORE):
            self.best_scores.add(int(row["concept"]), float(row["score"]))

    def add_row(self, row: Row) -> None:
        """Counts one line of a calls file. Raises InvalidArgument that names file and line where it is no call."""
        try:
            self.add(row.values)
        except (KeyError, TypeError, ValueError) as exc:
            raise InvalidArgument(f"{row.place} is no call of a teacher ({exc!r})") from exc

    def threshold_for(self, records: int) -> float | None:
        """The highest min-score, to two places, that answers to so many concepts reach; None if there are not so many.

        Answers that a guard or a balance target refused, or that no score could be given, count for none.
        """
        return next(
            (each / 100 for each in range(100, -1, -1) if self.best_scores.at_least(each / 100) >= records), None
        )

    def as_json(self) -> dict[str, JSON]:
        """By model and over all."""
        return {
            "all": self.all_models.as_json(),
            "by_model": {model: figures.as_json() for model, figures in sorted(self.by_model.items())},
            "dead_letters": self.dead_letters,
        }


def read_calls(lines: Iterable[str], *, source: str) -> CallFigures:
    """The figures of a calls file. Raises InvalidArgument that names file and line where a line is no call."""
    figures = CallFigures()
    for row in read_rows(lines, source=source):
        figures.add_row(row)
    return figures


def _rate(part: float, whole: float) -> float | None:
    return part / whole if whole else None
