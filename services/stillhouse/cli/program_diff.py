"""What changed between two programs as text at 100 columns. Called by `stillhouse program diff`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from stillhouse.cli.program_tables import cut, demo_lines, inline, metadata_facts
from stillhouse.cli.tables import facts_table, plain_table, rows_table
from stillhouse.programs.difference import Change, Difference, PredictorDifference
from stillhouse.programs.program import Demo

_STYLES = {"-": "red", "+": "green"}


def show_difference(screen: Console, found: Difference, metadata: Mapping[str, Mapping[str, Any]]) -> None:
    """`metadata` is by the programs' names, the first one's first."""
    told = [dict(metadata_facts(one)) for one in metadata.values()]
    names = list(dict.fromkeys(name for facts in told for name in facts))
    lines = [[name, *(facts.get(name, "-") for facts in told)] for name in names]
    changed = [[escape(cut(text)) for text in line] for line in lines if line[1] != line[-1]]
    if changed:
        titles = [escape(name) for name in metadata]
        screen.print(rows_table(["metadata", *titles], changed, left=titles))
        screen.print()
    if not found:
        screen.print("the programs are the same")
        return
    _show_changes(screen, "", found.changes)
    for index, predictor in enumerate(found.predictors):
        if index or found.changes:
            screen.print()
        _show_predictor(screen, predictor)


def _show_predictor(screen: Console, found: PredictorDifference) -> None:
    name = found.name
    if found.instructions:
        screen.print(Text(f"{name}: instructions", style="bold"))
        lines = plain_table(2)
        for line in found.instructions:
            lines.add_row(line[:1], Text(line[1:]), style=_STYLES.get(line[:1], ""))
        screen.print(lines)
    _show_demos(screen, f"{name}: demo removed", "-", found.demos_removed)
    _show_demos(screen, f"{name}: demo added", "+", found.demos_added)
    if found.demos_moved:
        screen.print(f"{name}: the demos that stayed are in another order", markup=False)
    _show_changes(screen, f"{name}: ", found.changes)


def _show_demos(screen: Console, title: str, sign: str, demos: Sequence[Demo]) -> None:
    for index, demo in enumerate(demos, start=1):
        screen.print(Text(f"{title}: {index} of {len(demos)}", style="bold"))
        screen.print(facts_table((f"{sign} {escape(name)}", escape(value)) for name, value in demo_lines(demo)))


def _show_changes(screen: Console, about: str, changes: Sequence[Change]) -> None:
    rows = [
        [escape(f"{about}{change.what}"), escape(_value(change.before)), escape(_value(change.after))]
        for change in changes
    ]
    if rows:
        screen.print(rows_table(["changed", "before", "after"], rows, left=("before", "after")))


def _value(value: Any) -> str:
    return "-" if value is None else inline(value)
