"""`stillhouse status` and `stop`: what is known of the runs of a store."""

from __future__ import annotations

import json
import os
import signal
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stillhouse.cli.progress import lines_about
from stillhouse.cli.run import StoreOption
from stillhouse.cli.store import default_store_uri


def status(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's name; without it, all runs.")] = None,
    store: StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Where a run stands: its steps, their keys, what is under way."""
    from stillhouse.artifacts.store import Store
    from stillhouse.controller.runs import find_run, list_runs, run_directory, runner_pid

    opened = Store.open(store or default_store_uri())
    names = [run] if run else list_runs(opened)
    found = [find_run(opened, name) for name in names]
    if as_json:
        keys = ("name", "steps", "outcome", "updated")
        typer.echo(json.dumps([{key: getattr(each, key) for key in keys} for each in found], indent=1))
        return
    if not found:
        typer.echo(f"no runs in {opened.uri}")
    for each in found:
        pid = runner_pid(run_directory(opened.uri, each.name))
        state = f"running as process {pid}" if pid else each.outcome or "not running; the same `run` command resumes"
        typer.echo(f"{each.name}: {state} (as of {each.updated})")
        if run:
            _print_steps(opened, each.steps, is_running=pid is not None)


def _print_steps(store, steps: list[dict[str, str]], *, is_running: bool) -> None:  # type: ignore[no-untyped-def]
    from stillhouse.controller.plan import PlannedStep, StepState
    from stillhouse.controller.runner import read_progress

    table = Table(box=None, pad_edge=False, show_header=False)
    for step in steps:
        state = StepState(step["state"])
        progress = read_progress(store, step["key"]) if state is StepState.RUNNING else None
        planned = PlannedStep(step["name"], "", step["stage"], state, step["key"], message=step["message"])
        shown = "interrupted" if state is StepState.RUNNING and not is_running else state.value
        table.add_row(step["name"], shown, step["key"][:12], Text("\n".join(lines_about(planned, progress))))
    Console().print(table)


def stop(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name.")],
    store: StoreOption = None,
) -> None:
    """Stop a run on this machine after a checkpoint; the same `run` command resumes it."""
    from stillhouse.artifacts.store import Store
    from stillhouse.controller.runs import find_run, run_directory, runner_pid

    opened = Store.open(store or default_store_uri())
    find_run(opened, run)
    pid = runner_pid(run_directory(opened.uri, run))
    if pid is None:
        typer.echo(f"{run} is not running on this machine")
        return
    os.kill(pid, signal.SIGTERM)
    typer.echo(f"asked process {pid} to stop after a checkpoint")
