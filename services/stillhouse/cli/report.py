"""`stillhouse report RUN`: one HTML file about a run, finished or not."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name.")],
    output: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Default: RUN.html, here.")] = None,
    store: Annotated[str | None, typer.Option(metavar="URI", help="Object store of the run.")] = None,
) -> None:
    """Writes a report of a run, one HTML file.

    Verdict, data, cost, training, answers, lineage; it loads nothing from elsewhere.
    """
    from stillhouse.cli.store import open_store
    from stillhouse.cli.tables import remarks
    from stillhouse.controller.run_lock import run_directory, runner_pid
    from stillhouse.controller.runs import find_run
    from stillhouse.dataset.lines import replacing
    from stillhouse.errors import FailedPrecondition

    opened = open_store(store)
    found = find_run(opened, run)
    try:
        from stillhouse.report.page import render
    except ImportError as exc:
        raise FailedPrecondition(f"the report needs {exc.name}; install stillhouse[report]") from exc
    from stillhouse.report.reading import read_report

    is_running = runner_pid(run_directory(opened.uri, run)) is not None
    option = f" --store {shlex.quote(store)}" if store else ""
    made = read_report(opened, found, is_running=is_running, store_option=option)
    path = output or Path(f"{run}.html")
    with replacing(path) as stream:
        stream.write(render(made))
    said = remarks()
    for notice in made.notices:
        said.print(notice, markup=False, soft_wrap=True)
    typer.echo(f"{path}: {made.headline}")
