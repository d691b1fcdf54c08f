"""`stillhouse logs RUN STEP`: what a step's pod has written on a cluster, or a run's log on this machine."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from stillhouse.cli.cluster import ClusterOption, ContextOption, NamespaceOption, chosen_cluster
from stillhouse.cli.run import StoreOption


def logs(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name.")],
    step: Annotated[
        str | None, typer.Argument(metavar="[STEP]", help="With --cluster: a step of its status, or serve.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="With --cluster: until the step has ended.")] = False,
    store: StoreOption = None,
    cluster: ClusterOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
) -> None:
    """What a step has written.

    On this machine the log of the whole run; on a cluster that of a step's latest pod.
    """
    from stillhouse.cli.cluster_logs import print_logs

    if (chosen := chosen_cluster(cluster, namespace, context, idle_store=store)) is not None:
        if step is None:
            raise typer.BadParameter("name a step, such as train; `stillhouse status` lists them", param_hint="STEP")
        print_logs(chosen, run, step, follow=follow)
        return
    if step is not None or follow:
        raise typer.BadParameter("STEP and --follow are for --cluster; here a run has one log", param_hint="STEP")
    _print_local(run, store)


def _print_local(run: str, store: str | None) -> None:
    from stillhouse.cli.store import open_store
    from stillhouse.controller.run_lock import run_directory
    from stillhouse.controller.runs import find_run
    from stillhouse.errors import NotFound

    opened = open_store(store)
    find_run(opened, run)
    path = run_directory(opened.uri, run) / "run.log"
    if not path.is_file():
        raise NotFound(f"run {run} has no log on this machine ({path})")
    with path.open(encoding="utf-8", errors="replace") as lines:
        sys.stdout.writelines(lines)
