"""Results as tables a person reads at 100 columns, and as JSON. Called by the commands; knows no service.

Tables and JSON go to stdout; progress and remarks go to stderr, so that a pipe gets the result alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH = 100
"""Columns where there is no terminal to ask."""

STATISTICS = ("count", "mean", "median", "min", "max", "std")


def console() -> Console:
    """For results: stdout, plain and 100 columns wide where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False, soft_wrap=False)


def remarks() -> Console:
    """For progress and remarks: stderr."""
    return Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH, highlight=False)


def print_json(document: Mapping[str, Any]) -> None:
    """The document on stdout, indented, as UTF-8."""
    print(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False))


def facts_table(facts: Iterable[tuple[str, str]]) -> Table:
    """Names and values, one a line."""
    table = _table(show_header=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, value)
    return table


def rows_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: Sequence[str] = ()) -> Table:
    """A table with the first column and those in `left` aligned left, the others right."""
    table = _table(show_header=True)
    for index, name in enumerate(columns):
        aligned_left = index == 0 or name in left
        table.add_column(name, justify="left" if aligned_left else "right", overflow="fold", no_wrap=not aligned_left)
    for row in rows:
        table.add_row(*row)
    return table


def plain_table(columns: int) -> Table:
    """A table for rows to be added to: no header, all left, the last column folds."""
    table = _table(show_header=False)
    for _ in range(columns - 1):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def statistics_row(name: str, statistics: Mapping[str, Any]) -> list[str]:
    """A line of the table of score statistics: the name, then STATISTICS."""
    count, *figures = (statistics[figure] for figure in STATISTICS)
    return [name, number(int(count)), *(number(float(figure)) for figure in figures)]


def number(value: float | None, *, digits: int = 4) -> str:
    """A figure for a person; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"


def percent(value: float) -> str:
    """A fraction as per cent with one digit."""
    return f"{100 * value:.1f} %"


def _table(*, show_header: bool) -> Table:
    return Table(box=None, show_header=show_header, pad_edge=False)
