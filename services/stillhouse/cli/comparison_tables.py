"""A comparison of evaluations as tables at 100 columns. Called by `stillhouse compare`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from stillhouse.cli.tables import facts_table, number, percent, rows_table
from stillhouse.dataset.paired import FEWEST_ROWS
from stillhouse.report.words import sureness

if TYPE_CHECKING:
    from stillhouse.dataset.paired import PairedDifference
    from stillhouse.report.differences import Compared, Comparison, TierFigures

_DIFFERENCE = ("mean", "95 % interval", "wins", "ties", "losses")
_TOO_FEW = "too few rows"


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
    screen.print(rows_table(["difference", *_DIFFERENCE, "reading"], map(_differing, comparison.others)))
    screen.print()
    if baseline.tiers:
        _show_tiers(screen, comparison)
    if any(difference.rows < FEWEST_ROWS for difference in _differences(comparison)):
        screen.print(f"fewer than {FEWEST_ROWS} rows are too few for an interval: they say nothing of other rows")
        screen.print()
    for path in written:
        screen.print(f"written to {path}", markup=False, soft_wrap=True)


def _show_tiers(screen: Console, comparison: Comparison) -> None:
    columns = ["by tier", "tier", "rows", "mean", "std", "min", "valid", "guards"]
    figures = (_tier_figures(name, made) for name, made in _by_tier(comparison.compared))
    screen.print(rows_table(columns, figures, left=("tier",)))
    screen.print()
    columns = ["difference", "tier", *_DIFFERENCE]
    differing = ([escape(name), escape(made.tier), *_of(made.difference)] for name, made in _by_tier(comparison.others))
    screen.print(rows_table(columns, differing, left=("tier",)))
    screen.print()


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
    return [escape(one.name), *_of(difference), reading]


def _of(difference: PairedDifference | None) -> Sequence[str]:
    """The cells of a difference; only the baseline has none."""
    if difference is None:
        return ["-"] * len(_DIFFERENCE)
    interval = f"{difference.low:+.3f} to {difference.high:+.3f}" if difference.rows >= FEWEST_ROWS else _TOO_FEW
    counts = (difference.wins, difference.ties, difference.losses)
    return [f"{difference.mean:+.3f}", interval, *(f"{count:,}" for count in counts)]


def _differences(comparison: Comparison) -> Iterator[PairedDifference]:
    """Of all rows, and of each tier's."""
    for one in comparison.others:
        found = (one.difference, *(tier.difference for tier in one.tiers))
        yield from (difference for difference in found if difference is not None)


def _by_tier(compared: Sequence[Compared]) -> Iterator[tuple[str, TierFigures]]:
    """By name, one tier's together."""
    for tier in zip(*(one.tiers for one in compared), strict=True):
        yield from zip((one.name for one in compared), tier, strict=True)


def _tier_figures(name: str, made: TierFigures) -> list[str]:
    return [
        escape(name),
        escape(made.tier),
        f"{made.rows:,}",
        *(number(figure, digits=3) for figure in (made.mean, made.std, made.min)),
        percent(made.valid_rate),
        percent(made.guard_rate),
    ]
