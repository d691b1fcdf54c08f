"""`stillhouse report RUN`: one HTML file about a run, finished or not."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stillhouse.cli.cluster import ClusterOption, ContextOption, NamespaceOption, chosen_cluster

if TYPE_CHECKING:
    from stillhouse.artifacts.store import Store
    from stillhouse.controller.runs import Run


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name.")],
    output: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Default: RUN.html, here.")] = None,
    store: Annotated[str | None, typer.Option(metavar="URI", help="Object store of the run.")] = None,
    cluster: ClusterOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
) -> None:
    """Writes a report of a run, one HTML file.

    Verdict, data, cost, training, answers, lineage; it loads nothing from elsewhere.
    """
    from stillhouse.cli.store import open_store
    from stillhouse.controller.run_lock import run_directory, runner_pid
    from stillhouse.controller.runs import find_run

    path = output or Path(f"{run}.html")
    option = f" --store {shlex.quote(store)}" if store else ""
    if (chosen := chosen_cluster(cluster, namespace, context)) is not None:
        from stillhouse.cli.cluster_artifacts import recorded_run

        with recorded_run(chosen, run, store=store) as found:
            where = f"{chosen.options}{option}"
            _write(path, found.store, found.run, is_running=found.is_running, option=where, on_cluster=True)
        return
    opened = open_store(store)
    recorded = find_run(opened, run)
    is_running = runner_pid(run_directory(opened.uri, run)) is not None
    _write(path, opened, recorded, is_running=is_running, option=option)


def _write(path: Path, store: Store, run: Run, *, is_running: bool, option: str, on_cluster: bool = False) -> None:
    from stillhouse.cli.tables import remarks
    from stillhouse.dataset.lines import replacing
    from stillhouse.errors import FailedPrecondition

    try:
        from stillhouse.report.page import render
    except ImportError as exc:
        raise FailedPrecondition(f"the report needs {exc.name}; install stillhouse[report]") from exc
    from stillhouse.report.reading import read_report

    made = read_report(store, run, is_running=is_running, store_option=option, on_cluster=on_cluster)
    with replacing(path) as stream:
        stream.write(render(made))
    said = remarks()
    for notice in made.notices:
        said.print(notice, markup=False, soft_wrap=True)
    typer.echo(f"{path}: {made.headline}")
