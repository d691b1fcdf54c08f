"""Precision, recall and F1 of a review's findings, from the `findings` of an evaluation document. Pure.

Called by `reading`. The document's kinds (gaps, conflicts) are the role's own and are only passed on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.report.facts import Finding
from stillhouse.report.teaching import number

_BY_TIER = "by_tier"


def findings_of(document: Mapping[str, Any], *, who: str, tiers: Sequence[str]) -> tuple[Finding, ...]:
    """The lines of one evaluation: by kind, overall first, then the tiers in their order; empty where it has none."""
    found = document.get("findings") or {}
    by_tier = found.get(_BY_TIER) or {}
    ranks = {tier: rank for rank, tier in enumerate(tiers)}
    ordered = sorted(by_tier, key=lambda tier: (ranks.get(tier, len(ranks)), tier))
    lines = []
    for kind, figures in found.items():
        if kind == _BY_TIER:
            continue
        lines.append(_finding(who, kind, "", figures))
        lines += [_finding(who, kind, tier, by_tier[tier][kind]) for tier in ordered if kind in by_tier[tier]]
    return tuple(lines)


def _finding(who: str, kind: str, tier: str, figures: Mapping[str, Any]) -> Finding:
    found, missed, invented = (int(number(figures, name)) for name in ("found", "missed", "invented"))
    rates = [None if figures.get(name) is None else number(figures, name) for name in ("precision", "recall", "f1")]
    return Finding(who, kind, tier, found, missed, invented, *rates)
