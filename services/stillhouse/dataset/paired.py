"""The difference of two scores of the same rows, and how sure it is: a paired bootstrap. Pure; called where models are
compared.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from stillhouse.errors import FailedPrecondition

RESAMPLES = 2000
TIE = 1e-9
"""Scores that differ by no more are equal."""
FEWEST_ROWS = 6
"""With fewer, chance alone gives all rows one sign more often than the interval allows: 2^-5 is above 0.025."""


@dataclass(frozen=True)
class PairedDifference:
    """Candidate less baseline, over the rows that both have, and how many rows are better, as good, worse."""

    rows: int
    mean: float
    low: float
    """Bounds of the 95 % interval (percentiles of the resampled means); -1 and 1 of fewer than FEWEST_ROWS."""
    high: float
    wins: int
    ties: int
    losses: int


def paired_difference(
    candidate: Mapping[str, float], baseline: Mapping[str, float], *, seed: int = 0
) -> PairedDifference:
    """Scores by row. Rows are drawn with replacement 2,000 times: Efron & Tibshirani, An Introduction to the Bootstrap,
    chapter 13. Raises FailedPrecondition where the rows differ: then nothing is paired.
    """
    if not candidate or candidate.keys() != baseline.keys():
        common = len(candidate.keys() & baseline.keys())
        raise FailedPrecondition(
            f"the evaluations are not of the same rows: {len(candidate)} and {len(baseline)}, {common} in both"
        )
    differences = [candidate[row] - baseline[row] for row in sorted(candidate)]
    low, high = _interval(differences, seed)
    wins, losses = sum(each > TIE for each in differences), sum(each < -TIE for each in differences)
    return PairedDifference(
        rows=len(differences),
        mean=fmean(differences),
        low=low,
        high=high,
        wins=wins,
        ties=len(differences) - wins - losses,
        losses=losses,
    )


def _interval(differences: Sequence[float], seed: int) -> tuple[float, float]:
    if len(differences) < FEWEST_ROWS:  # so few say nothing of others; scores lie within [0, 1]
        return -1.0, 1.0
    means = sorted(_resampled_means(differences, random.Random(seed)))  # noqa: S311 - no secret
    return means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES) - 1]


def _resampled_means(differences: Sequence[float], source: random.Random) -> list[float]:
    count = len(differences)
    return [sum(source.choices(differences, k=count)) / count for _ in range(RESAMPLES)]
