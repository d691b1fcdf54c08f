"""`stillhouse status --cluster` and `stop --cluster`: what is known of the Distillations of a namespace."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stillhouse.cli.cluster import Cluster, explained, find_distillation, has_ended
from stillhouse.cli.cluster_run import follow_to_end, print_facts, print_resume
from stillhouse.cli.progress import lines_about
from stillhouse.cli.tables import console, plain_table, rows_table
from stillhouse.controller.cluster.timestamps import seconds_of
from stillhouse.errors import EXIT_DONE

if TYPE_CHECKING:
    import threading

Json = dict[str, Any]

_COLUMNS = ("NAME", "STAGE", "RECORDS", "SCORE", "GAP", "SERVING", "AGE")
_FIGURES = ("stage", "records", "score", "gap", "serving")
_LOOK_SECONDS = 2.0
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def show_status(cluster: Cluster, name: str | None, *, watch: bool, as_json: bool) -> int:
    """One Distillation or all; the exit code, with `watch` that of the outcome."""
    screen = console()
    if watch and name:
        return follow_to_end(cluster, find_distillation(cluster, name)["metadata"]["name"], screen)
    if watch:
        return _watch_all(cluster, screen)
    found = [find_distillation(cluster, name)] if name else _all(cluster)
    if as_json:
        typer.echo(json.dumps([_document(body) for body in found], indent=1))
    elif name:
        _print_one(screen, found[0])
    elif found:
        screen.print(_table(found))
    else:
        typer.echo(f"no Distillations in namespace {cluster.namespace}")
    return EXIT_DONE


def stop_on_cluster(cluster: Cluster, name: str) -> None:
    """Suspends it: its Jobs save a checkpoint and end. Its student is served on."""
    from stillhouse.controller.cluster.api import DISTILLATIONS

    body, screen = find_distillation(cluster, name), console()
    if body["spec"].get("suspend"):
        screen.print(f"{name} is suspended already", markup=False)
    elif has_ended(body):
        screen.print(f"{name} has ended: {body['status']['stage']}", markup=False)
        return
    else:
        with explained(cluster):
            cluster.api.patch(DISTILLATIONS, cluster.namespace, name, {"spec": {"suspend": True}})
        screen.print(f"{name} is suspended: what runs saves a checkpoint and ends", markup=False)
    print_resume(screen, cluster, name)


def _all(cluster: Cluster) -> list[Json]:
    from stillhouse.controller.cluster.api import DISTILLATIONS

    with explained(cluster):
        return list(cluster.api.list(DISTILLATIONS, cluster.namespace))


def _watch_all(cluster: Cluster, screen: Console) -> int:
    """Until it is interrupted."""
    from stillhouse.rpc.process import stop_on_signals

    with stop_on_signals() as stopping:
        if screen.is_terminal:
            _redraw(cluster, screen, stopping.event)
        else:
            _print_changes(cluster, screen, stopping.event)
    return stopping.exit_code


def _redraw(cluster: Cluster, screen: Console, stopping: threading.Event) -> None:
    with Live(console=screen, refresh_per_second=1) as live:
        while not stopping.is_set():
            live.update(_table(_all(cluster)))
            stopping.wait(_LOOK_SECONDS)


def _print_changes(cluster: Cluster, screen: Console, stopping: threading.Event) -> None:
    known: dict[str, list[str]] = {}
    while not stopping.is_set():
        for body in _all(cluster):
            name, figures = body["metadata"]["name"], _figures(body)
            if known.get(name) != figures:
                known[name] = figures
                words = (f"{figure} {value}" for figure, value in zip(_FIGURES, figures, strict=True) if value)
                screen.print(f"{name}: {', '.join(words) or 'not looked at yet'}", markup=False, soft_wrap=True)
        stopping.wait(_LOOK_SECONDS)


def _table(bodies: list[Json]) -> Table:
    rows = [[body["metadata"]["name"], *_figures(body), _age(body)] for body in bodies]
    return rows_table(_COLUMNS, rows, left=("STAGE", "SERVING"))


def _figures(body: Json) -> list[str]:
    return [str(body.get("status", {}).get(figure, "")) for figure in _FIGURES]


def _age(body: Json) -> str:
    """In the largest unit that fits, as kubectl says it."""
    seconds = max(int(time.time() - seconds_of(body["metadata"]["creationTimestamp"])), 0)
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), (1, "s"))
    return f"{seconds // size}{unit}"


def _document(body: Json) -> Json:
    return {"name": body["metadata"]["name"], **body.get("status", {})}


def _print_one(screen: Console, body: Json) -> None:
    from stillhouse.cli.cluster_follow import shown
    from stillhouse.cli.progress import duration

    status = body.get("status", {})
    said = status.get("stage") or "not looked at yet"
    if status.get("stage") == "Invalid":  # what else there is to say, its steps and figures say
        said += f": {status.get('message', '')}"
    screen.print(f"{body['metadata']['name']}: {said}", markup=False, soft_wrap=True)
    plan, progress, took = shown(body)
    table = plain_table(4)
    for step in plan.steps:
        words = Text("\n".join(lines_about(step.state, step.message, progress.get(step.name))))
        clock = duration(took[step.name]) if step.name in took else ""
        table.add_row(step.name, step.state.value, clock, words)
    screen.print(table)
    print_facts(screen, body)
