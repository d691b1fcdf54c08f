"""`stillhouse run FILE`: carries a Distillation to its outcome on this machine and says truthfully how it went."""

from __future__ import annotations

import os
import shlex
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from stillhouse.cli.cluster import ClusterOption, ContextOption, NamespaceOption, chosen_cluster
from stillhouse.cli.errors import say_error
from stillhouse.cli.progress import view_for
from stillhouse.cli.store import open_store
from stillhouse.cli.tables import console, rows_table
from stillhouse.errors import EXIT_CHECK_FAILED, EXIT_DONE, InvalidArgument, PermanentError

if TYPE_CHECKING:
    from stillhouse.artifacts.store import Store
    from stillhouse.controller.local import LocalBackend
    from stillhouse.controller.plan import Plan
    from stillhouse.rpc.process import StopRequest
    from stillhouse.spec.models import Distillation, DistillationSpec

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
    cluster: ClusterOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    no_follow: Annotated[bool, typer.Option("--no-follow", help="With --cluster: apply it and return.")] = False,
) -> None:
    """Distil: data set, training, export, evaluation. The same command resumes and repeats nothing that is done."""
    from stillhouse.controller.inputs import bring_in
    from stillhouse.controller.local import LocalBackend
    from stillhouse.controller.plan import Outcome, plan
    from stillhouse.controller.run_lock import exclusive, run_directory
    from stillhouse.controller.runner import Runner
    from stillhouse.rpc.process import stop_on_signals
    from stillhouse.rpc.tracing import configure_tracing, span

    screen = console()
    distillation = load_file(file, overrides)
    if (
        chosen := chosen_cluster(cluster, namespace, context, file_namespace=distillation.metadata.namespace)
    ) is not None:
        if dry_run or serve:
            raise typer.BadParameter("--dry-run and --serve are for this machine", param_hint="--cluster")
        from stillhouse.cli.cluster_run import run_on_cluster

        raise typer.Exit(run_on_cluster(chosen, distillation, store=store, follow=not no_follow))
    name, spec = distillation.metadata.name, distillation.spec
    opened = open_store(store or spec.store)
    inputs = bring_in(spec, opened, directory=Path.cwd())
    if dry_run:
        made = plan(spec, inputs, opened.read_manifest, {}, now=0.0)
        _print_plan(screen, made)
        _print_estimates(screen, made, opened, spec)
        return
    directory, sizes = run_directory(opened.uri, name), spec.serve
    configure_tracing("stillhouse", os.environ)
    with exclusive(directory) as lock, stop_on_signals() as stopping:
        backend = LocalBackend(directory, opened.uri, slots=sizes.slots, context_tokens=sizes.context_tokens, lock=lock)
        screen.print(f"run    {name}\nstore  {opened.uri}\nlog    {backend.log_file}", soft_wrap=True, markup=False)
        try:
            with span(f"distillation {name}", begins=True), view_for(screen) as view:
                result = Runner(distillation, inputs, opened, backend, view.show).run(stopping.event)
        finally:
            backend.close()
        exit_code = _conclude(screen, name, result, opened, stopping, backend.log_file)
        if result.outcome in (Outcome.SUCCEEDED, Outcome.GATES_FAILED):
            _print_next(screen, name, store or spec.store, optimizes=spec.optimization is not None)
        if serve and exit_code == EXIT_DONE:
            _serve(screen, backend, opened, name, spec.serve.port, stopping.event)
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


def _print_plan(screen: Console, plan: Plan) -> None:
    from stillhouse.controller.plan import StepState

    rows = []
    for step in plan.steps:
        state = "done" if step.state is StepState.DONE else "to do" if step.key else f"after {step.message}"
        rows.append([step.name, state, step.service, step.key[:12]])
    screen.print(rows_table(["STEP", "STATE", "SERVICE", "KEY"], rows, left=("STATE", "SERVICE", "KEY")))


def _print_estimates(screen: Console, plan: Plan, store: Store, spec: DistillationSpec) -> None:
    """What the teacher may cost, where it is still to be asked, and which paid steps that leaves out."""
    from stillhouse.cli.estimates import print_estimate
    from stillhouse.controller.costs import paid_steps
    from stillhouse.controller.plan import StepState
    from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest

    left_out = []
    for step in plan.steps:
        if step.state is StepState.DONE:
            continue
        if not isinstance(step.request, GenerateRecordsRequest):
            left_out += [step.name] if step.name in paid_steps(spec) else []
            continue
        concepts = step.request.concepts
        screen.print()
        print_estimate(screen, step.request, store.open_lines(concepts), source=concepts.name, store=store)
    if left_out:
        limit = spec.budget.max_cost_usd
        bound = "there is no budget.maxCostUsd" if limit is None else f"budget.maxCostUsd ${limit} holds for all"
        screen.print(f"not estimated: {', '.join(left_out)}; models are paid there too, {bound}", highlight=False)


def _conclude(screen: Console, name: str, plan: Plan, store: Store, stopping: StopRequest, log_file: Path) -> int:
    from stillhouse.cli.summary import print_evaluations
    from stillhouse.controller.plan import Outcome, StepState

    if plan.outcome is None:
        screen.print(f"stopped; the same command resumes run {name}")
        return stopping.exit_code
    if plan.outcome is Outcome.SUSPENDED:
        screen.print(f"run {name} is suspended (spec.suspend); set it to false and run again to go on")
        return EXIT_DONE
    if plan.outcome is Outcome.FAILED:
        failed = [step for step in plan.steps if step.state is StepState.FAILED]
        for step in failed:
            say_error(f"{step.name}: {step.message}")
        say_error(f"the log is {log_file}")
        return min(step.exit_code for step in failed)
    print_evaluations(screen, plan, store)
    return EXIT_DONE if plan.outcome is Outcome.SUCCEEDED else EXIT_CHECK_FAILED


def _print_next(screen: Console, name: str, store: str | None, *, optimizes: bool) -> None:
    """What to do with a finished run; `store` where it is not the default one."""
    run = f"{name} --store {shlex.quote(store)}" if store else name
    screen.print(f"\nchat with it:  stillhouse chat {run}", markup=False, soft_wrap=True)
    screen.print(f"report:        stillhouse report {run}", markup=False, soft_wrap=True)
    if optimizes:
        screen.print(f"its prompt:    stillhouse program show {run}", markup=False, soft_wrap=True)


def _serve(
    screen: Console, backend: LocalBackend, store: Store, name: str, port: int, stopping: threading.Event
) -> None:
    from stillhouse.controller.runs import find_run, model_of
    from stillhouse.rpc.subprocesses import end_process, free_port

    port = port or free_port()
    server = backend.serve(model_of(store, find_run(store, name)), port=port)
    screen.print(f"serving at 127.0.0.1:{port} (gRPC, stillhouse.v1.StudentInferenceService) until Ctrl-C")
    try:
        while not stopping.wait(0.2):
            if server.poll() is not None:
                raise PermanentError(f"the student server ended with {server.returncode}; see {backend.log_file}")
    finally:
        end_process(server, 30.0)
