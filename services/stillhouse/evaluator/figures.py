"""Figures of an evaluation: distribution, rates, seconds, tokens per second, per tier, findings. Pure.

Called by the evaluation with the results of all rows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median, pstdev

from stillhouse.roles.role import Detection, GuardFinding
from stillhouse.v1.evaluator_pb2 import Evaluation
from stillhouse.v1.record_pb2 import ScoreStatistics


@dataclass(frozen=True)
class RowResult:
    """One row, answered and judged."""

    row_id: str
    inputs: Mapping[str, str]
    labels: Mapping[str, str]
    answer: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    score: float = 0.0
    """In [0, 1]."""
    parts: Mapping[str, float] = field(default_factory=dict)
    valid: bool = False
    problems: Sequence[str] = ()
    guards: Sequence[GuardFinding] = ()
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str = ""
    failure: str = ""
    """Why there is no answer, by which failures are counted; empty for an answered row."""
    failure_message: str = ""
    detections: Mapping[str, Detection] = field(default_factory=dict)
    """By kind: the answer's findings against those planted in the row; empty where its labels say nothing."""

    @property
    def passes_guards(self) -> bool:
        """Answered, and no guard fired. A row without an answer has shown nothing and does not pass."""
        return not self.failure and not self.guards


def score_statistics(scores: Sequence[float]) -> ScoreStatistics:
    """Count, mean, median, min, max and population standard deviation; all 0 without scores."""
    if not scores:
        return ScoreStatistics()
    return ScoreStatistics(
        count=len(scores),
        mean=fmean(scores),
        median=median(scores),
        min=min(scores),
        max=max(scores),
        std=pstdev(scores),
    )


def evaluation_of(results: Sequence[RowResult]) -> Evaluation:
    """All figures. Failed rows count with score 0 and as not valid; their seconds are left out of the median.

    `tokens_per_second` is tokens of the answers over wall seconds, prompts included, of one request.
    """
    answered = [result for result in results if not result.failure]
    seconds = sum(result.seconds for result in answered)
    tokens = sum(result.completion_tokens for result in answered)
    return Evaluation(
        scores=score_statistics([result.score for result in results]),
        valid_rate=_share(result.valid for result in results),
        guard_rate=_share(result.passes_guards for result in results),
        median_seconds=median([result.seconds for result in answered]) if answered else 0.0,
        tokens_per_second=tokens / seconds if seconds > 0 else 0.0,
        by_tier=_by_tier(results),
        parts=_mean_parts(results),
        guard_counts=Counter(finding.guard for result in results for finding in result.guards),
    )


@dataclass(frozen=True)
class Findings:
    """The detections of one kind over rows; a rate whose denominator is 0 is None."""

    found: int
    missed: int
    invented: int

    @property
    def planted(self) -> int:
        """How many there were to find."""
        return self.found + self.missed

    @property
    def precision(self) -> float | None:
        """found / (found + invented)."""
        return _ratio(self.found, self.found + self.invented)

    @property
    def recall(self) -> float | None:
        """found / planted."""
        return _ratio(self.found, self.planted)

    @property
    def f1(self) -> float | None:
        """2 found / (2 found + missed + invented): the harmonic mean of precision and recall where both are there."""
        return _ratio(2 * self.found, 2 * self.found + self.missed + self.invented)


def findings_of(results: Iterable[RowResult]) -> dict[str, Findings]:
    """By kind, summed over the rows whose labels speak of it. Rows without a readable answer have missed everything."""
    kinds: defaultdict[str, list[Detection]] = defaultdict(list)
    for result in results:
        for kind, detection in result.detections.items():
            kinds[kind].append(detection)
    return {
        kind: Findings(
            found=sum(detection.found for detection in detections),
            missed=sum(detection.missed for detection in detections),
            invented=sum(detection.invented for detection in detections),
        )
        for kind, detections in kinds.items()
    }


def findings_by_tier(results: Iterable[RowResult]) -> dict[str, dict[str, Findings]]:
    """`findings_of` for each tier that the labels name and that has any."""
    tiers: defaultdict[str, list[RowResult]] = defaultdict(list)
    for result in results:
        if (tier := result.labels.get("tier")) and result.detections:
            tiers[tier].append(result)
    return {tier: findings_of(rows) for tier, rows in sorted(tiers.items())}


def failures_by_reason(results: Iterable[RowResult]) -> dict[str, int]:
    """How many rows have no answer, by reason."""
    return dict(sorted(Counter(result.failure for result in results if result.failure).items()))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _share(flags: Iterable[bool]) -> float:
    values = list(flags)
    return sum(values) / len(values) if values else 0.0


def _by_tier(results: Iterable[RowResult]) -> dict[str, ScoreStatistics]:
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for result in results:
        if tier := result.labels.get("tier"):
            scores[tier].append(result.score)
    return {tier: score_statistics(values) for tier, values in sorted(scores.items())}


def _mean_parts(results: Sequence[RowResult]) -> dict[str, float]:
    """Mean points a part over all rows; a row that lacks a part has 0 of it."""
    names = sorted({name for result in results for name in result.parts})
    return {name: fmean(result.parts.get(name, 0.0) for result in results) for name in names}
