"""`stillhouse status` and `stop`: what is known of the runs of a store."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from stillhouse.cli.cluster import ClusterOption, ContextOption, NamespaceOption, chosen_cluster
from stillhouse.cli.progress import lines_about
from stillhouse.cli.run import StoreOption
from stillhouse.cli.store import open_store
from stillhouse.cli.tables import console, plain_table
from stillhouse.errors import PermissionDenied

if TYPE_CHECKING:
    from stillhouse.artifacts.store import Store
    from stillhouse.controller.runs import Run


def status(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's name; without it, all runs.")] = None,
    store: StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
    cluster: ClusterOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="With --cluster: as it goes.")] = False,
) -> None:
    """Where a run stands: steps, keys, what is under way."""
    from stillhouse.controller.run_lock import run_directory, runner_pid
    from stillhouse.controller.runs import find_run, list_runs

    if (chosen := chosen_cluster(cluster, namespace, context, idle_store=store)) is not None:
        from stillhouse.cli.cluster_status import show_status

        raise typer.Exit(show_status(chosen, run, watch=watch, as_json=as_json))
    if watch:
        raise typer.BadParameter("it is for --cluster; `stillhouse run` shows a run here", param_hint="--watch")
    opened = open_store(store)
    names = [run] if run else list_runs(opened)
    found = [find_run(opened, name) for name in names]
    if as_json:
        keys = ("name", "steps", "outcome", "updated")
        shown = [{key: getattr(each, key) for key in keys} | {"program": _program(opened, each)} for each in found]
        typer.echo(json.dumps(shown, indent=1))
        return
    if not found:
        typer.echo(f"no runs in {opened.uri}")
    for each in found:
        pid = runner_pid(run_directory(opened.uri, each.name))
        state = f"running as process {pid}" if pid else each.outcome or "not running; the same `run` command resumes"
        typer.echo(f"{each.name}: {state} (as of {each.updated})")
        if run:
            _print_steps(opened, each.steps, is_running=pid is not None)
            if program := _program(opened, each):
                typer.echo(f"program {program}")


def _program(store: Store, run: Run) -> str | None:
    """`sha256:HEX` of the program that the run has made; None where it has made none."""
    from stillhouse.cli.programs import optimized_in

    made = optimized_in(store, run)
    return None if made is None else f"sha256:{made.program.sha256}"


def _print_steps(store: Store, steps: list[dict[str, str]], *, is_running: bool) -> None:
    from stillhouse.controller.plan import StepState
    from stillhouse.rpc.operation import read_progress

    table = plain_table(4)
    for step in steps:
        state = StepState(step["state"])
        progress = read_progress(store, step["key"]) if state is StepState.RUNNING else None
        shown = "interrupted" if state is StepState.RUNNING and not is_running else state.value
        words = Text("\n".join(lines_about(state, step["message"], progress)))
        table.add_row(step["name"], shown, step["key"][:12], words)
    console().print(table)


def stop(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name.")],
    store: StoreOption = None,
    cluster: ClusterOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
) -> None:
    """Stop a run after a checkpoint. The same `run` command resumes it."""
    from stillhouse.controller.run_lock import run_directory, runner_pid
    from stillhouse.controller.runs import find_run

    if (chosen := chosen_cluster(cluster, namespace, context, idle_store=store)) is not None:
        from stillhouse.cli.cluster_status import stop_on_cluster

        stop_on_cluster(chosen, run)
        return
    opened = open_store(store)
    find_run(opened, run)
    pid = runner_pid(run_directory(opened.uri, run))
    if pid is None:
        typer.echo(f"{run} is not running on this machine")
        return
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        typer.echo(f"{run} has just ended")
    except PermissionError as exc:
        raise PermissionDenied(f"{run} is another user's process {pid}; ask them to stop it") from exc
    else:
        typer.echo(f"asked process {pid} to stop after a checkpoint")
