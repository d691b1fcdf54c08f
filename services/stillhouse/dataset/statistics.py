"""Figures of a data set: scores overall, by model, tier and label, by threshold, and the funnel of what was refused.

Called by dataset_builder and the command line. Streams: eight bytes a score are kept, for the exact median.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""The scores at which `by_threshold` is tabulated."""

MAX_LABEL_VALUES = 20
"""A label with more values than this is an id, not a kind, and is left out of the table."""

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]


@dataclass(frozen=True)
class ScoreSummary:
    """Distribution of scores in [0, 1]; std is the population's; all zero where count is."""

    count: int = 0
    mean: float = 0.0
    median: float = 0.0
    min: float = 0.0
    max: float = 0.0
    std: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The six figures by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ScoreSummary:
        """What `as_json` wrote, whole numbers as floats or not."""
        figures = {name: float(values[name]) for name in ("mean", "median", "min", "max", "std")}
        return cls(count=int(values["count"]), **figures)


class RunningScores:
    """Scores as they come; mean and std by Welford's update (1962), the median from the kept scores."""

    def __init__(self) -> None:
        """Empty."""
        self._scores = array("d")
        self._mean = 0.0
        self._squares = 0.0

    def add(self, score: float) -> None:
        """Takes one more score in."""
        self._scores.append(score)
        difference = score - self._mean
        self._mean += difference / len(self._scores)
        self._squares += difference * (score - self._mean)

    def __len__(self) -> int:
        """How many scores there are."""
        return len(self._scores)

    @property
    def mean(self) -> float:
        """Mean so far, 0 for none."""
        return self._mean

    def at_least(self, threshold: float) -> tuple[int, float]:
        """How many scores reach the threshold, and their mean (0 for none)."""
        reached = [score for score in self._scores if score >= threshold]
        return len(reached), math.fsum(reached) / len(reached) if reached else 0.0

    def summary(self) -> ScoreSummary:
        """The distribution of what was added."""
        count = len(self._scores)
        if not count:
            return ScoreSummary()
        ordered = sorted(self._scores)
        middle = count // 2
        median = ordered[middle] if count % 2 else (ordered[middle - 1] + ordered[middle]) / 2
        std = math.sqrt(max(self._squares, 0.0) / count)
        return ScoreSummary(count, self._mean, median, ordered[0], ordered[-1], std)


@dataclass(frozen=True)
class ThresholdLine:
    """How many records reach a score, and their mean."""

    threshold: float
    count: int
    mean: float


@dataclass(frozen=True)
class Funnel:
    """What became of the rows: how many were read, left at each reason, and were kept."""

    rows_read: int
    refused: Mapping[str, int]
    kept: int

    def __str__(self) -> str:
        """One line for a person: `319 read, 48 contaminated, 2 low_score, 269 kept`."""
        left = [f"{count} {reason}" for reason, count in self.refused.items()]
        return ", ".join([f"{self.rows_read} read", *left, f"{self.kept} kept"])


@dataclass(frozen=True)
class DatasetStatistics:
    """Everything that `stillhouse dataset stats` prints. `by_label` is by label name, then by value."""

    funnel: Funnel
    scores: ScoreSummary
    by_label: Mapping[str, Mapping[str, ScoreSummary]]
    by_threshold: Sequence[ThresholdLine]
    groups: int
    unscored: int = 0
    extra: Mapping[str, JSON] = field(default_factory=dict)

    def as_json(self) -> dict[str, JSON]:
        """As a JSON object, keys in a fixed order."""
        by_label: dict[str, JSON] = {
            label: {value: summary.as_json() for value, summary in values.items()}
            for label, values in self.by_label.items()
        }
        return {
            "rows_read": self.funnel.rows_read,
            "refused": dict(self.funnel.refused),
            "kept": self.funnel.kept,
            "groups": self.groups,
            "unscored": self.unscored,
            "scores": self.scores.as_json(),
            "by_label": by_label,
            "by_threshold": [asdict(line) for line in self.by_threshold],
            **self.extra,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DatasetStatistics:
        """What `as_json` wrote, for example into BuildDatasetResult.statistics; what it does not know is `extra`."""
        known = {"rows_read", "refused", "kept", "groups", "unscored", "scores", "by_label", "by_threshold"}
        refused = {reason: int(count) for reason, count in values["refused"].items()}
        lines = values["by_threshold"]
        return cls(
            funnel=Funnel(int(values["rows_read"]), refused, int(values["kept"])),
            scores=ScoreSummary.from_json(values["scores"]),
            by_label={
                label: {value: ScoreSummary.from_json(summary) for value, summary in by_value.items()}
                for label, by_value in values["by_label"].items()
            },
            by_threshold=tuple(ThresholdLine(line["threshold"], int(line["count"]), line["mean"]) for line in lines),
            groups=int(values["groups"]),
            unscored=int(values["unscored"]),
            extra={name: value for name, value in values.items() if name not in known},
        )


def _kind(value: str) -> str:
    """A label's value; of a list, as JSON, only whether it holds any: its items are ids."""
    if value.startswith("[") and value.endswith("]"):
        return "some" if value[1:-1].strip() else "none"
    return value


class StatisticsCollector:
    """Collects statistics row by row; every row is either refused once or kept once."""

    def __init__(self) -> None:
        """Empty."""
        self._refused: Counter[str] = Counter()
        self._kept = 0
        self._unscored = 0
        self._scores = RunningScores()
        self._offered = RunningScores()
        self._by_label: dict[str, dict[str, RunningScores]] = {}

    @property
    def kept(self) -> int:
        """Rows kept so far."""
        return self._kept

    @property
    def scores(self) -> RunningScores:
        """Scores of the rows kept so far."""
        return self._scores

    def refuse(self, reason: str) -> None:
        """Counts a refused row at its reason."""
        self._refused[reason] += 1

    def offer(self, score: float) -> None:
        """Counts a score for the table by threshold, whatever becomes of its row."""
        self._offered.add(score)

    def keep(self, score: float | None, labels: Mapping[str, str]) -> None:
        """Counts a kept row at its score and labels."""
        self._kept += 1
        if score is None:
            self._unscored += 1
            return
        self._scores.add(score)
        for label, given in labels.items():
            value = _kind(given)
            values = self._by_label.setdefault(label, {})
            if value in values or len(values) <= MAX_LABEL_VALUES:
                values.setdefault(value, RunningScores()).add(score)

    def funnel(self) -> Funnel:
        """What became of the rows so far, refusals by reason in the alphabet's order."""
        return Funnel(self._kept + self._refused.total(), dict(sorted(self._refused.items())), self._kept)

    def statistics(self, *, groups: int, extra: Mapping[str, JSON] | None = None) -> DatasetStatistics:
        """The figures of everything so far; `groups` is the number of distinct input groups kept."""
        offered = self._offered if len(self._offered) else self._scores
        by_label = {
            label: {value: scores.summary() for value, scores in sorted(values.items())}
            for label, values in sorted(self._by_label.items())
            if len(values) <= MAX_LABEL_VALUES
        }
        lines = tuple(ThresholdLine(threshold, *offered.at_least(threshold)) for threshold in THRESHOLDS)
        return DatasetStatistics(
            self.funnel(), self._scores.summary(), by_label, lines, groups, self._unscored, extra or {}
        )
