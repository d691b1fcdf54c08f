"""A comparison of evaluations as tables at 100 columns. Called by `stillhouse compare`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from stillhouse.cli.tables import facts_table, number, percent, rows_table
from stillhouse.report.words import sureness

if TYPE_CHECKING:
    from stillhouse.report.differences import Compared, Comparison, Difference, TierFigures

_DASHES = ("-",) * 5


def show_comparison(screen: Console, comparison: Comparison, written: Iterable[Path]) -> None:
    """Who was asked, figures, F1, difference to the baseline, and by tier."""
    baseline = comparison.baseline
    first = baseline.evaluation
    about = (
        f"{len(first.rows)} rows of role {first.role.name}, by {first.metric or 'its metric'}; baseline {baseline.name}"
    )
    screen.print(about, markup=False, soft_wrap=True)
    screen.print()
    screen.print(facts_table((escape(one.name), escape(one.evaluation.asked)) for one in comparison.compared))
    screen.print()
    columns = ["", "mean", "std", "min", "valid", "guards", "failed", "seconds", "$ a row"]
    screen.print(rows_table(columns, map(_figures, comparison.compared)))
    if any(one.evaluation.failed for one in comparison.compared):
        screen.print("a failed row has no answer and counts as 0")
    screen.print()
    if kinds := list(first.findings):
        lines = [[escape(one.name), *_f1(one, kinds)] for one in comparison.compared]
        screen.print(rows_table(["F1", *map(escape, kinds)], lines))
        screen.print()
    difference = ["difference", "mean", "95 % interval", "wins", "ties", "losses", "reading"]
    screen.print(rows_table(difference, map(_differing, comparison.others)))
    screen.print()
    if baseline.tiers:
        columns = ["by tier", "tier", "rows", "mean", "difference", "95 % interval", "wins", "ties", "losses"]
        screen.print(rows_table(columns, _tier_lines(comparison), left=("tier",)))
        screen.print()
    for path in written:
        screen.print(f"written to {path}", markup=False, soft_wrap=True)


def _figures(one: Compared) -> list[str]:
    made = one.evaluation
    return [
        escape(one.name),
        *(number(figure, digits=3) for figure in (made.scores.mean, made.scores.std, made.scores.min)),
        percent(made.valid_rate),
        percent(made.guard_rate),
        str(made.failed),
        number(made.median_seconds, digits=2),
        number(made.cost_usd_per_row, digits=5),
    ]


def _f1(one: Compared, kinds: Sequence[str]) -> list[str]:
    found = one.evaluation.findings
    return [number(found[kind].f1 if kind in found else None, digits=3) for kind in kinds]


def _differing(one: Compared) -> list[str]:
    difference = one.difference
    reading = "" if difference is None else sureness(difference.low, difference.high)
    return [escape(one.name), *_difference(difference), reading]


def _difference(difference: Difference | None) -> Sequence[str]:
    if difference is None:
        return _DASHES
    interval = f"{difference.low:+.3f} to {difference.high:+.3f}"
    counts = (difference.wins, difference.ties, difference.losses)
    return [f"{difference.mean:+.3f}", interval, *(f"{count:,}" for count in counts)]


def _tier_lines(comparison: Comparison) -> list[list[str]]:
    """One tier's lines together."""
    tiers = zip(*(one.tiers for one in comparison.compared), strict=True)
    names = [one.name for one in comparison.compared]
    return [_tier_line(name, made) for tier in tiers for name, made in zip(names, tier, strict=True)]


def _tier_line(name: str, made: TierFigures) -> list[str]:
    return [
        escape(name),
        escape(made.tier),
        f"{made.rows:,}",
        number(made.mean, digits=3),
        *_difference(made.difference),
    ]
