"""Precision, recall and F1 of a review's findings as lines of a table, from an evaluation. Pure.

Called by `reading` and by the page of a comparison. Kinds (gaps, conflicts) are the
role's own and are only passed on.
"""

from __future__ import annotations

from collections.abc import Sequence

from stillhouse.report.evaluations import Detected, Evaluation, in_order
from stillhouse.report.facts import Finding


def findings_of(evaluation: Evaluation, *, who: str) -> tuple[Finding, ...]:
    """By kind, overall first, then the tiers in their order; empty where it has none."""
    by_tier = evaluation.findings_by_tier
    lines = []
    for kind, figures in evaluation.findings.items():
        lines.append(_finding(who, kind, "", figures))
        lines += [_finding(who, kind, tier, by_tier[tier][kind]) for tier in in_order(by_tier) if kind in by_tier[tier]]
    return tuple(lines)


def by_kind(lines: Sequence[Finding]) -> list[tuple[str, list[Finding], list[Finding]]]:
    """By kind: everybody's line over all rows, then by tier, one tier's lines together; empty tiers are left out."""
    tiers = list(dict.fromkeys(line.tier for line in lines if line.tier and line.found + line.missed + line.invented))
    return [
        (
            kind,
            [line for line in lines if line.kind == kind and not line.tier],
            [line for tier in tiers for line in lines if line.kind == kind and line.tier == tier],
        )
        for kind in dict.fromkeys(line.kind for line in lines)
    ]


def _finding(who: str, kind: str, tier: str, made: Detected) -> Finding:
    return Finding(who, kind, tier, made.found, made.missed, made.invented, made.precision, made.recall, made.f1)
