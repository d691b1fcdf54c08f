"""Evaluations of the same rows beside the first of them: difference, interval, wins, ties and losses. Pure.

Called by the report's `reading` and by `stillhouse compare`; COMPARISON.json is made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, median, pstdev
from typing import Any

from stillhouse.dataset.paired import FEWEST_ROWS, RESAMPLES, TIE, PairedDifference, paired_difference
from stillhouse.report.evaluations import Detected, Evaluation, MeasuredRow, check_comparable, in_order

SEED = 0
LEVEL = 0.95


@dataclass(frozen=True)
class TierFigures:
    """The rows of one tier; no `difference` for the baseline."""

    tier: str
    rows: int
    mean: float
    std: float
    """The population's, as of all rows."""
    min: float
    valid_rate: float
    guard_rate: float
    median_seconds: float | None
    """Of answered rows; None where none was."""
    findings: Mapping[str, Detected]
    difference: PairedDifference | None


@dataclass(frozen=True)
class Compared:
    """An evaluation and how it differs from the baseline; no `difference` for the baseline itself."""

    name: str
    evaluation: Evaluation
    difference: PairedDifference | None
    tiers: Sequence[TierFigures] = field(default=())


@dataclass(frozen=True)
class Comparison:
    """All of them, the baseline first."""

    compared: Sequence[Compared]

    @property
    def baseline(self) -> Compared:
        """What the others are compared with."""
        return self.compared[0]

    @property
    def others(self) -> Sequence[Compared]:
        """All but the baseline."""
        return self.compared[1:]


def compare(evaluations: Mapping[str, Evaluation]) -> Comparison:
    """By name, the baseline first; at least one. Raises InvalidArgument where they can't be compared."""
    check_comparable(evaluations)
    first, *others = evaluations
    baseline = evaluations[first]
    compared = [_compared(first, baseline, None), *(_compared(name, evaluations[name], baseline) for name in others)]
    return Comparison(tuple(compared))


def points_of(rows: Sequence[MeasuredRow]) -> dict[str, float]:
    """Scores by row's id."""
    return {row.id: row.points for row in rows}


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """COMPARISON.json: what all have in common, `method`, and `evaluations` in their order, the baseline first.

    Of each: `name`, what was asked (`teacher`, `model_sha256`, `constraint`, `program`), `scores` as EVAL.json has
    them, `valid_rate`, `guard_rate`, `failed_rows` by reason, `median_seconds`, `cost_usd` and `cost_usd_per_row` (null
    for a student), `findings` by kind (found, missed, invented, precision, recall, f1), `difference` (rows, mean, low,
    high, wins, ties, losses; null for the baseline) and `by_tier` by tier: rows, mean, std, min, valid_rate,
    guard_rate, median_seconds, findings, difference.
    """
    first = comparison.baseline.evaluation
    return {
        "role": first.role.model_dump(),
        "validation_sha256": first.validation_sha256,
        "metric": first.metric,
        "rows": len(first.rows),
        "baseline": comparison.baseline.name,
        "method": {
            "difference": "mean over rows of the score less the baseline's",
            "interval": "percentiles of a paired bootstrap",
            "level": LEVEL,
            "resamples": RESAMPLES,
            "fewest_rows": FEWEST_ROWS,
            "seed": SEED,
            "tie": TIE,
            "failed_rows": "score 0",
        },
        "evaluations": [_document(one) for one in comparison.compared],
    }


def _compared(name: str, one: Evaluation, baseline: Evaluation | None) -> Compared:
    tiers = {row.tier for row in one.rows if row.tier}
    return Compared(
        name,
        one,
        _differs(one.rows, None if baseline is None else baseline.rows),
        tuple(_tier(tier, one, baseline) for tier in in_order(tiers)),
    )


def _tier(tier: str, one: Evaluation, baseline: Evaluation | None) -> TierFigures:
    rows = [row for row in one.rows if row.tier == tier]
    points = [row.points for row in rows]
    answered = [row.seconds for row in rows if not row.failure]
    return TierFigures(
        tier=tier,
        rows=len(rows),
        mean=fmean(points),
        std=pstdev(points),
        min=min(points),
        valid_rate=sum(row.valid for row in rows) / len(rows),
        guard_rate=sum(row.passes_guards for row in rows) / len(rows),
        median_seconds=median(answered) if answered else None,
        findings=one.findings_by_tier.get(tier, {}),
        difference=_differs(rows, None if baseline is None else [row for row in baseline.rows if row.tier == tier]),
    )


def _differs(rows: Sequence[MeasuredRow], baseline: Sequence[MeasuredRow] | None) -> PairedDifference | None:
    return None if baseline is None else paired_difference(points_of(rows), points_of(baseline), seed=SEED)


def _document(one: Compared) -> dict[str, Any]:
    made = one.evaluation
    return {
        "name": one.name,
        "teacher": made.teacher,
        "model_sha256": made.model_sha256,
        "constraint": made.constraint,
        "program": made.program,
        "scores": made.scores.model_dump(),
        "valid_rate": made.valid_rate,
        "guard_rate": made.guard_rate,
        "failed_rows": dict(made.failed_rows),
        "median_seconds": made.median_seconds,
        "cost_usd": made.cost_usd,
        "cost_usd_per_row": made.cost_usd_per_row,
        "findings": _findings(made.findings),
        "difference": _difference(one.difference),
        "by_tier": {
            tier.tier: {
                "rows": tier.rows,
                "mean": tier.mean,
                "std": tier.std,
                "min": tier.min,
                "valid_rate": tier.valid_rate,
                "guard_rate": tier.guard_rate,
                "median_seconds": tier.median_seconds,
                "findings": _findings(tier.findings),
                "difference": _difference(tier.difference),
            }
            for tier in one.tiers
        },
    }


def _findings(findings: Mapping[str, Detected]) -> dict[str, Any]:
    return {kind: found.model_dump() for kind, found in findings.items()}


def _difference(difference: PairedDifference | None) -> dict[str, Any] | None:
    return None if difference is None else asdict(difference)
