"""`stillhouse run FILE`: carries a Distillation to its outcome on this machine and says truthfully how it went."""

from __future__ import annotations

import shlex
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from stillhouse.cli.errors import say_error
from stillhouse.cli.progress import view_for
from stillhouse.cli.store import default_store_uri
from stillhouse.errors import (
    EXIT_CHECK_FAILED,
    EXIT_DONE,
    InvalidArgument,
    StillhouseError,
)

if TYPE_CHECKING:
    from stillhouse.artifacts.store import Store
    from stillhouse.controller.local import LocalBackend
    from stillhouse.controller.plan import Plan
    from stillhouse.rpc.process import StopRequest
    from stillhouse.spec.models import Distillation

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A Distillation (YAML).")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override a value: dataset.imports[0].uri=rows.jsonl"),
]
StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="URI", help="Object store; default: the file's, else $STILLHOUSE_STORE."),
]


def run(
    file: FileArgument,
    store: StoreOption = None,
    overrides: SetOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and what is already done.")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Keep serving the student until interrupted.")] = False,
) -> None:
    """Distil: data set, training, export, evaluation. The same command resumes and repeats nothing that is done."""
    from stillhouse.artifacts.store import Store
    from stillhouse.controller.inputs import bring_in
    from stillhouse.controller.local import LocalBackend
    from stillhouse.controller.plan import Outcome
    from stillhouse.controller.runner import Runner
    from stillhouse.controller.runs import exclusive, run_directory
    from stillhouse.rpc.process import stop_on_signals

    console = Console()
    distillation = load_file(file, overrides)
    spec = distillation.spec
    opened = Store.open(store or spec.store or default_store_uri())
    inputs = bring_in(spec, opened, directory=Path.cwd())
    directory = run_directory(opened.uri, distillation.metadata.name)
    backend = LocalBackend(directory, opened.uri, slots=spec.serve.slots, context_tokens=spec.serve.context_tokens)
    if dry_run:
        made = Runner(distillation, inputs, opened, backend, lambda *_: None).plan()
        _print_plan(console, made)
        _print_estimate(console, made, opened)
        return
    with exclusive(directory) as lock, stop_on_signals() as stopping:
        backend.hold(lock)
        console.print(
            f"run    {distillation.metadata.name}\nstore  {opened.uri}\nlog    {backend.log_file}",
            soft_wrap=True,
            highlight=False,
        )
        try:
            with view_for(console) as view:
                result = Runner(distillation, inputs, opened, backend, view.show).run(stopping.event)
        finally:
            backend.close()
        exit_code = _conclude(console, distillation.metadata.name, result, stopping, backend.log_file)
        if result.outcome in (Outcome.SUCCEEDED, Outcome.GATES_FAILED):
            _print_next(console, distillation.metadata.name, store or spec.store)
        if serve and exit_code == EXIT_DONE:
            _serve(console, backend, opened, distillation.metadata.name, spec.serve.port, stopping.event)
    raise typer.Exit(exit_code)


def load_file(file: Path, overrides: list[str] | None) -> Distillation:
    """The Distillation; a wrong --set is wrong usage, a wrong file bad data."""
    from stillhouse.controller.requests import check
    from stillhouse.spec.loading import load_distillation

    try:
        distillation = load_distillation(file, overrides or ())
    except InvalidArgument as exc:
        if exc.field == "set":
            raise typer.BadParameter(exc.message, param_hint="--set") from exc
        raise
    check(distillation.spec)
    return distillation


def _print_plan(console: Console, plan: Plan) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("STEP", "STATE", "SERVICE", "KEY"):
        table.add_column(column, no_wrap=True)
    for step in plan.steps:
        state = "done" if step.state.value == "done" else "to do" if step.key else f"after {step.message}"
        table.add_row(step.name, state, step.service, step.key[:12])
    console.print(table)


def _print_estimate(console: Console, plan: Plan, store: Store) -> None:
    """What the teacher may cost, where it is still to be asked."""
    from stillhouse.cli.estimates import print_estimates
    from stillhouse.controller.plan import StepState
    from stillhouse.dataset.concepts import read_concepts
    from stillhouse.roles.role import load_role
    from stillhouse.teacher_generator.estimate import estimate
    from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest

    for step in plan.steps:
        if step.state is StepState.DONE or not isinstance(step.request, GenerateRecordsRequest):
            continue
        role = load_role(step.request.role.name)
        lines = store.open_lines(step.request.concepts)
        rows = read_concepts(lines, source=step.request.concepts.name, shape=role)
        console.print()
        print_estimates(console, estimate(step.request, role, (row.inputs for row in rows)), step.request)


def _conclude(console: Console, name: str, plan: Plan, stopping: StopRequest, log_file: Path) -> int:
    from stillhouse.cli.summary import print_evaluations
    from stillhouse.controller.plan import Outcome, StepState

    if plan.outcome is None:
        console.print(f"stopped; the same command resumes run {name}")
        return stopping.exit_code
    if plan.outcome is Outcome.SUSPENDED:
        console.print(f"run {name} is suspended (spec.suspend); set it to false and run again to go on")
        return EXIT_DONE
    if plan.outcome is Outcome.FAILED:
        failed = [step for step in plan.steps if step.state is StepState.FAILED]
        for step in failed:
            say_error(f"{step.name}: {step.message}")
        say_error(f"the log is {log_file}")
        return min(step.exit_code for step in failed)
    print_evaluations(console, plan)
    return EXIT_DONE if plan.outcome is Outcome.SUCCEEDED else EXIT_CHECK_FAILED


def _print_next(console: Console, name: str, store: str | None) -> None:
    """What to do with a finished run; `store` where it is not the default one."""
    run = f"{name} --store {shlex.quote(store)}" if store else name
    console.print(f"\nchat with it:  stillhouse chat {run}", highlight=False, soft_wrap=True)
    console.print(f"report:        stillhouse report {run}", highlight=False, soft_wrap=True)


def _serve(
    console: Console, backend: LocalBackend, store: Store, name: str, port: int, stopping: threading.Event
) -> None:
    from stillhouse.controller.local import end_process, free_port
    from stillhouse.controller.runs import find_run, model_of

    port = port or free_port()
    server = backend.serve(model_of(store, find_run(store, name)), port=port)
    console.print(
        f"serving at 127.0.0.1:{port} (gRPC, stillhouse.v1.StudentInferenceService) until Ctrl-C", highlight=False
    )
    try:
        while not stopping.wait(0.2):
            if server.poll() is not None:
                raise StillhouseError(f"the student server ended with {server.returncode}; see {backend.log_file}")
    finally:
        end_process(server, 30.0)
