"""`stillhouse generate` and `stillhouse dataset retry-failed`: a teacher's answers as a file."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stillhouse.cli.choices import chosen_guards, chosen_role
from stillhouse.cli.errors import as_usage
from stillhouse.cli.teachers import (
    DEFAULT_MODEL,
    PROMPTS,
    EndpointOption,
    ModelOption,
    ProgramOption,
    checked_provider,
    teacher_model,
)
from stillhouse.teachers.providers import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from stillhouse.rpc.process import StopRequest
    from stillhouse.teacher_generator.data_file import FileGeneration, FileOutcome
    from stillhouse.teacher_generator.data_files import DataFiles
    from stillhouse.v1.common_pb2 import Progress


def generate(
    concepts: Annotated[Path, typer.Option(help="JSONL, one concept a line (stillhouse concepts writes one).")],
    output: Annotated[Path, typer.Option(metavar="DATA.jsonl", help="Gains one line an accepted answer.")],
    role: Annotated[str, typer.Option(help="The role that asks and judges.")] = "product_owner",
    provider: Annotated[str, typer.Option(help=f"One of {', '.join(PROVIDERS)}.")] = "vertex",
    model: ModelOption = DEFAULT_MODEL,
    max_records: Annotated[int, typer.Option(min=1, help="Lines that the output has in the end.")] = 400,
    min_score: Annotated[float, typer.Option(min=0.0, max=1.0, help="Answers below it are refused.")] = 0.80,
    seed: Annotated[int, typer.Option(min=0)] = 42,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an output that is there.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start the output anew.")] = False,
    endpoint: EndpointOption = None,
    project: Annotated[str | None, typer.Option(help="Google Cloud project.")] = None,
    location: Annotated[str, typer.Option(help="Region, or global.")] = "us-central1",
    prompt: Annotated[str, typer.Option(help=f"One of {', '.join(PROMPTS)}.")] = "fenced",
    program: ProgramOption = None,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0)] = 0.7,
    max_output_tokens: Annotated[int, typer.Option(min=64, max=65_536, help="Thinking included.")] = 8192,
    thinking_budget: Annotated[int | None, typer.Option(min=0, help="Tokens to think with; 0: none.")] = None,
    attempts: Annotated[int, typer.Option(min=1, max=10, help="Fresh answers before a concept is set aside.")] = 2,
    guards: Annotated[str | None, typer.Option(help="Guards that refuse, by comma; default: all; none: '-'.")] = None,
    second_answers: Annotated[
        bool, typer.Option("--second-answers", help="Ask once more about each concept when they are used up.")
    ] = False,
    concurrency: Annotated[int, typer.Option(min=0, help="Calls in flight at most; 0: it finds out.")] = 0,
    requests_per_minute: Annotated[int, typer.Option(min=0, help="0: no cap.")] = 0,
    tokens_per_minute: Annotated[int, typer.Option(min=0, help="0: no cap.")] = 0,
    deadline: Annotated[float, typer.Option(min=1.0, help="Seconds for one call.")] = 300.0,
    max_cost_usd: Annotated[float | None, typer.Option(min=0.0, help="No call starts that could pass it.")] = None,
    faults: Annotated[str, typer.Option(help="Of provider emulator: none or recorded.")] = "recorded",
    latency: Annotated[float, typer.Option(min=0.0, help="Of provider emulator: median seconds a call.")] = 0.5,
    store: Annotated[str | None, typer.Option(help="Object store that keeps every answer.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what it may cost, and ask nothing.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="The figures as JSON instead of tables.")] = False,
) -> None:
    """Asks a teacher about concepts and keeps good records.

    Until there are enough of them. No answer is paid for twice.
    """
    from stillhouse.cli.store import open_store
    from stillhouse.programs.kept import keep_program
    from stillhouse.teacher_generator.data_files import DataFiles
    from stillhouse.v1.common_pb2 import RoleReference
    from stillhouse.v1.teacher_generator_pb2 import (
        WHEN_EXHAUSTED_SECOND_ANSWER,
        WHEN_EXHAUSTED_STOP,
        GenerateRecordsRequest,
        TeacherStage,
    )

    chosen = chosen_role(role)
    if resume and overwrite:
        raise typer.BadParameter("go on or start anew: give --resume or --overwrite", param_hint="--resume")
    teacher = teacher_model(
        provider,
        prompt,
        faults=faults,
        latency_seconds=latency,
        model=model,
        temperature=temperature,
        max_output_tokens=max_output_tokens,
        thinking_budget=thinking_budget,
        endpoint=endpoint,
        project=project,
        location=location,
        concurrency=concurrency,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        deadline_seconds=deadline,
        program=keep_program(program, open_store(store)).artifact if program is not None else None,
    )
    request = GenerateRecordsRequest(
        role=RoleReference(name=chosen.name, version=chosen.version),
        stages=[
            TeacherStage(name=model[:63], teacher=teacher, min_score=min_score, until=max_records, attempts=attempts)
        ],
        guards=chosen_guards(chosen, guards),
        when_exhausted=WHEN_EXHAUSTED_SECOND_ANSWER if second_answers else WHEN_EXHAUSTED_STOP,
        seed=seed,
    )
    if max_cost_usd is not None:
        request.max_cost_usd = max_cost_usd
    if dry_run:
        from stillhouse.cli.estimates import print_estimate
        from stillhouse.cli.tables import console
        from stillhouse.dataset.lines import lines_of

        kept = open_store(store) if program is not None else None
        print_estimate(console(), request, lines_of(concepts), source=concepts.name, store=kept)
        return
    with as_usage("--output"):
        files = DataFiles(output)
    with _working(store, files) as (generation, stopping):
        outcome = _stoppable(
            lambda: generation.generate(request, concepts, files, resume=resume, overwrite=overwrite), stopping
        )
    _conclude(outcome, files, wanted=max_records, json_output=json_output)


def retry_failed(
    data: Annotated[Path, typer.Argument(metavar="DATA.jsonl", help="What stillhouse generate wrote.")],
    provider: Annotated[str | None, typer.Option(help="Ask another provider.")] = None,
    model: Annotated[str | None, typer.Option(help="Ask another model.")] = None,
    endpoint: EndpointOption = None,
    max_cost_usd: Annotated[
        float | None, typer.Option(min=0.0, help="No call of this retry starts that could pass it.")
    ] = None,
    store: Annotated[str | None, typer.Option(help="Object store that keeps every answer.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="The figures as JSON instead of tables.")] = False,
) -> None:
    """Asks again about the concepts that were set aside; good answers are appended to the data."""
    from stillhouse.teacher_generator.data_files import DataFiles

    with as_usage("DATA.jsonl"):
        files = DataFiles(data)
    request = files.read_request()
    stage = request.stages[0]
    stage.until = 0
    if provider is not None and checked_provider(provider) != stage.teacher.provider:
        stage.teacher.provider = checked_provider(provider)
        stage.teacher.endpoint = ""
    if model is not None:
        stage.teacher.model, stage.name = model, model[:63]
    if endpoint is not None:
        stage.teacher.endpoint = endpoint
    request.ClearField("max_cost_usd")
    if max_cost_usd is not None:
        request.max_cost_usd = max_cost_usd
    with _working(store, files) as (generation, stopping):
        outcome = _stoppable(lambda: generation.retry(request, files), stopping)
    _conclude(outcome, files, wanted=None, json_output=json_output)


@contextmanager
def _working(store: str | None, files: DataFiles) -> Iterator[tuple[FileGeneration, StopRequest]]:
    import structlog

    from stillhouse.artifacts.answers import AnswerLog
    from stillhouse.cli.files import make_folder
    from stillhouse.cli.jobs import progress_line
    from stillhouse.cli.store import open_store
    from stillhouse.cli.tables import remarks
    from stillhouse.rpc.logs import configure_logging
    from stillhouse.rpc.process import stop_on_signals
    from stillhouse.teacher_generator.data_file import FileGeneration
    from stillhouse.teacher_generator.data_files import open_text

    log, screen = AnswerLog(open_store(store)), remarks()
    make_folder(files.records.parent)
    with (
        open_text(files.log, "a") as events,
        stop_on_signals() as stopping,
        progress_line(screen) as show,
    ):
        before = structlog.get_config()
        configure_logging("teacher_generator", events)
        try:
            yield FileGeneration(log, os.environ, _saying_what_is_awaited(show, screen), stopping.event), stopping
        finally:
            configure_logging("stillhouse")
            structlog.configure(**before)


def _saying_what_is_awaited(show: Callable[[Progress], None], screen: Console) -> Callable[[Progress], None]:
    """`show`, but for a stop that waits for calls in flight: that is a line of its own."""
    from stillhouse.teacher_generator.generation import STOPPING

    def say(progress: Progress) -> None:
        in_flight = int(progress.figures.get("in_flight", 0))
        if progress.message.endswith(STOPPING) and in_flight:
            calls, answers = ("1 call", "its answer") if in_flight == 1 else (f"{in_flight} calls", "their answers")
            words = f"stopping: awaiting {calls} in flight, billed in any case; Ctrl-C again gives {answers} up"
            screen.print(words, markup=False, soft_wrap=True)
        else:
            show(progress)

    return say


def _stoppable(work: Callable[[], FileOutcome], stopping: StopRequest) -> FileOutcome:
    from stillhouse.errors import Cancelled

    try:
        return work()
    except Cancelled as exc:
        if stopping.event.is_set():
            from stillhouse.cli.tables import remarks

            remarks().print("stopped; the same command with --resume goes on from here", markup=False)
            raise typer.Exit(stopping.exit_code) from exc
        raise


def _conclude(outcome: FileOutcome, files: DataFiles, *, wanted: int | None, json_output: bool) -> None:
    from stillhouse.cli.dataset_tables import show_calls
    from stillhouse.cli.tables import console, print_json

    ledger, tally = outcome.ledger, outcome.tally
    document = {
        "records": ledger.records,
        "accepted": tally.accepted,
        "attempted": tally.attempted,
        "ended": tally.ended,
        "skipped": dict(outcome.skipped),
        "spent_usd": outcome.spent_usd,
        **ledger.figures.as_json(),
    }
    if json_output:
        print_json(document)
        return
    screen = console()
    if ledger.figures.all_models.calls:
        show_calls(screen, document)
    short = wanted is not None and ledger.records < wanted
    tail = f" of {wanted} wanted: the concepts are used up (add some, or --second-answers)" if short else ""
    screen.print(f"{files.records}: {ledger.records} records{tail}", markup=False, soft_wrap=True)
    if ledger.figures.dead_letters:
        screen.print(
            f"{files.dead_letters}: {ledger.figures.dead_letters} concepts set aside "
            f"(stillhouse dataset retry-failed {files.records})",
            markup=False,
            soft_wrap=True,
        )
