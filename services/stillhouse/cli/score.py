"""`stillhouse score`: a role's metric, parts and guards for every row of a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from stillhouse.cli.choices import chosen_role
from stillhouse.cli.errors import as_usage


def score(
    input_rows: Annotated[Path, typer.Option("--input", help="JSONL rows: the role's inputs and outputs by name.")],
    output: Annotated[Path, typer.Option(help="The rows again, each with score, parts and guards.")],
    role: Annotated[str, typer.Option(help="The role that scores.")] = "product_owner",
    metric: Annotated[str, typer.Option(help="module:function of your own metric, in place of the role's.")] = "",
    json_output: Annotated[bool, typer.Option("--json", help="Figures as JSON instead of a table.")] = False,
) -> None:
    """Scores every row of a file."""
    from stillhouse.cli.files import write_lines
    from stillhouse.cli.tables import console, print_json
    from stillhouse.dataset.lines import json_line, lines_of
    from stillhouse.dataset.statistics import RunningScores
    from stillhouse.roles.metric_reference import load_metric
    from stillhouse.roles.scoring import score_rows

    chosen = chosen_role(role)
    with as_usage("--metric"):
        own_metric = load_metric(metric) if metric else None
    scores = RunningScores()
    fired: dict[str, int] = {}
    rows = score_rows(chosen, lines_of(input_rows), source=input_rows.name, metric=own_metric)
    write_lines(output, (json_line(row, sort_keys=False) for row in _counted(rows, scores, fired)))
    document = {"rows": len(scores), "scores": scores.summary().as_json(), "guards": dict(sorted(fired.items()))}
    if json_output:
        print_json(document)
    else:
        _show(console(), document, output)


def _counted(rows: Iterable[dict[str, Any]], scores: Any, fired: dict[str, int]) -> Iterator[dict[str, Any]]:
    for row in rows:
        scores.add(row["score"])
        for name in {finding["guard"] for finding in row["guards"]}:
            fired[name] = fired.get(name, 0) + 1
        yield row


def _show(screen: Any, document: dict[str, Any], output: Path) -> None:
    from stillhouse.cli.tables import STATISTICS, rows_table, statistics_row

    screen.print(rows_table(["scores", *STATISTICS], [statistics_row("rows", document["scores"])]))
    if document["guards"]:
        fired = [[name, str(count)] for name, count in document["guards"].items()]
        screen.print(rows_table(["guard", "rows"], fired))
    screen.print(f"written to {output}", markup=False, soft_wrap=True)
