"""`stillhouse evaluate`: a served student, or a teacher, over validation rows, without a Distillation."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stillhouse.cli.choices import chosen_role
from stillhouse.cli.errors import as_usage
from stillhouse.cli.teachers import DEFAULT_MODEL, PROMPTS, EndpointOption, ModelOption, ProgramOption, teacher_model
from stillhouse.teachers.providers import PROVIDERS

if TYPE_CHECKING:
    from stillhouse.cli.subjects import Sampling
    from stillhouse.evaluator.evaluation import EvaluationPlan, Measured
    from stillhouse.evaluator.summary import Baseline
    from stillhouse.programs.kept import NamedProgram
    from stillhouse.programs.program import Program
    from stillhouse.roles.role import Role
    from stillhouse.v1.evaluator_pb2 import Gate


def evaluate(
    validation: Annotated[Path, typer.Option(help="JSONL: rows or data set records.")],
    output: Annotated[Path, typer.Option(help="The whole evaluation as JSON.")],
    student: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A student server (stillhouse serve-student).")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help=f"In the place of a student a teacher: one of {', '.join(PROVIDERS)}.")
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    role: Annotated[str, typer.Option(help="The role that asks and judges.")] = "product_owner",
    grammar: Annotated[
        str | None, typer.Option(help="role: a student's answers are held to the role's grammar (default); or none.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, max=32_768, help="Tokens an answer; default: 1024, a teacher's 8192.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, max=2.0, help="Default: 0, which is greedy; a teacher's 0.7.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Default: 42; a teacher's 1000042, apart from its records'.")
    ] = None,
    concurrency: Annotated[
        int,
        typer.Option(min=1, max=64, help="Rows asked of a student at a time: sooner done, but no measure of seconds."),
    ] = 1,
    gate: Annotated[
        list[str] | None,
        typer.Option(metavar="FIGURE>=N", help="A bound: score_mean>=0.75, median_seconds<=10; exit 1 if it fails."),
    ] = None,
    reference: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="The teacher's mean score, for the gap.")
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="EVAL.json of the base model on the same rows.")] = None,
    metric: Annotated[str, typer.Option(help="module:function of your own metric, in place of the role's.")] = "",
    program: ProgramOption = None,
    rows_output: Annotated[Path | None, typer.Option(help="JSONL of every row with its answer.")] = None,
    store: Annotated[
        str | None,
        typer.Option(help="Object store to keep answers in: the same command again goes on. A teacher's always are."),
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="STILLHOUSE_TOKEN", help="Bearer token of a student's server.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificate of the authority, for a student behind TLS.")] = None,
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for a student to be ready.")] = 30.0,
    endpoint: EndpointOption = None,
    project: Annotated[str | None, typer.Option(help="Google Cloud project of a teacher.")] = None,
    location: Annotated[str, typer.Option(help="Region of a teacher, or global.")] = "us-central1",
    prompt: Annotated[str, typer.Option(help=f"How a teacher is asked: {', '.join(PROMPTS)}.")] = "fenced",
    thinking_budget: Annotated[
        int | None, typer.Option(min=0, help="Tokens a teacher may think with; 0: none.")
    ] = None,
    max_cost_usd: Annotated[
        float | None, typer.Option(min=0.0, help="No call of a teacher starts that could pass it.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="The evaluation as JSON instead of tables.")] = False,
) -> None:
    """Measures a student, or a teacher, on held-out rows.

    Score, valid and guard rate, seconds; decides gates.
    """
    from stillhouse.cli.subjects import AskedTeacher, ServedStudent
    from stillhouse.evaluator.evaluation import check_concurrency

    _check_subject(student, provider, grammar, concurrency)
    chosen = chosen_role(role)
    with as_usage("--gate"):
        gates = [_gate(text) for text in gate or ()]
    with as_usage("--concurrency"):
        check_concurrency(concurrency, gates)
    sampling = _sampling(max_tokens, temperature, seed, is_teacher=provider is not None)
    chosen_program = _program(program, store, is_teacher=provider is not None)
    subject: ServedStudent | AskedTeacher = ServedStudent(student or "", token, ca, wait, store)
    if provider is not None:
        asked = teacher_model(
            provider,
            prompt,
            model=model,
            temperature=sampling.temperature,
            max_output_tokens=sampling.max_tokens,
            thinking_budget=thinking_budget,
            endpoint=endpoint,
            project=project,
            location=location,
            concurrency=1,
            program=chosen_program.artifact if chosen_program else None,
        )
        subject = AskedTeacher(asked, max_cost_usd, store)
    plan = _plan(
        chosen,
        validation,
        {
            "constraint": "none" if provider is not None or grammar == "none" else "role_grammar",
            **asdict(sampling),
            "concurrency": concurrency,
            "metric": metric,
            "program": chosen_program.artifact.sha256 if chosen_program else "",
        },
        gates,
        program=chosen_program.program if chosen_program else None,
        reference=reference or None,
        baseline=_read_baseline(baseline),
    )
    _conclude(subject.measure(plan), output, rows_output, json_output=json_output)


def _check_subject(student: str | None, provider: str | None, grammar: str | None, concurrency: int) -> None:
    if (student is None) == (provider is None):
        raise typer.BadParameter("name a student, or a teacher by its --provider", param_hint="--student")
    if grammar not in (None, "role", "none"):
        raise typer.BadParameter(f"{grammar!r} is neither role nor none", param_hint="--grammar")
    if provider is not None and grammar == "role":
        raise typer.BadParameter("a teacher is not held to the role's grammar", param_hint="--grammar")
    if provider is not None and concurrency > 1:
        raise typer.BadParameter("a teacher is asked one row at a time", param_hint="--concurrency")


def _sampling(max_tokens: int | None, temperature: float | None, seed: int | None, *, is_teacher: bool) -> Sampling:
    """What was given, else the defaults of a student's or a teacher's answer."""
    from stillhouse.cli.subjects import STUDENT_SAMPLING, TEACHER_SAMPLING, Sampling

    usual = TEACHER_SAMPLING if is_teacher else STUDENT_SAMPLING
    return Sampling(
        usual.max_tokens if max_tokens is None else max_tokens,
        usual.temperature if temperature is None else temperature,
        usual.seed if seed is None else seed,
    )


def _program(reference: str | None, store: str | None, *, is_teacher: bool) -> NamedProgram | None:
    """The program of `--program`; a teacher's lies in the store of its answers, where it is asked from."""
    from stillhouse.cli.store import open_store
    from stillhouse.programs.document import program_sha256
    from stillhouse.programs.folder import PROGRAM_FILE
    from stillhouse.programs.kept import NamedProgram, is_digest, keep_program, load_program
    from stillhouse.v1.artifact_pb2 import Artifact

    if reference is None:
        return None
    if is_teacher:
        return keep_program(reference, open_store(store))
    program = load_program(reference, open_store(store) if is_digest(reference) else None)
    return NamedProgram(program, Artifact(name=PROGRAM_FILE, sha256=program_sha256(program)))


def _conclude(measured: Measured, output: Path, rows_output: Path | None, *, json_output: bool) -> None:
    """Writes and prints the evaluation. Raises Exit where a gate failed."""
    from stillhouse.cli.evaluation_tables import show_evaluation
    from stillhouse.cli.files import write_json, write_lines
    from stillhouse.cli.tables import console, print_json
    from stillhouse.dataset.lines import json_line
    from stillhouse.errors import EXIT_CHECK_FAILED
    from stillhouse.evaluator.summary import row_document

    write_json(output, measured.document)
    if rows_output is not None:
        write_lines(rows_output, (json_line(row_document(result)) for result in measured.results))
    screen = console()
    if json_output:
        print_json(measured.document)
    else:
        show_evaluation(screen, measured.document, output)
        if "teacher" in measured.document:
            said = f"{measured.document['teacher']}: ${measured.document['cost_usd']:.4f} for these answers"
            screen.print(said, markup=False, soft_wrap=True)
    if not measured.passed:
        raise typer.Exit(EXIT_CHECK_FAILED)


def _gate(text: str) -> Gate:
    """`FIGURE>=N` or `FIGURE<=N`. Raises InvalidArgument."""
    from math import isfinite

    from stillhouse.errors import InvalidArgument
    from stillhouse.evaluator.gates import FIGURES
    from stillhouse.v1.evaluator_pb2 import Gate

    for sign in (">=", "<="):
        figure, found, number = text.partition(sign)
        if found and figure.strip() in FIGURES:
            try:
                bound = float(number)
            except ValueError:
                break
            if not isfinite(bound):
                break
            return Gate(figure=figure.strip(), min=bound) if sign == ">=" else Gate(figure=figure.strip(), max=bound)
    raise InvalidArgument(f"{text!r} is not FIGURE>=N or FIGURE<=N with a figure of {', '.join(FIGURES)}")


def _plan(
    role: Role,
    validation: Path,
    conditions: dict[str, Any],
    gates: list[Gate],
    *,
    program: Program | None,
    reference: float | None,
    baseline: Baseline | None,
) -> EvaluationPlan:
    """Raises InvalidArgument that names file and line of a broken row, or the gate that can't be decided, and
    FailedPrecondition for another role's program.
    """
    from hashlib import sha256
    from io import BytesIO

    from stillhouse.cli.files import read_file
    from stillhouse.dataset.lines import lines_in
    from stillhouse.evaluator.evaluation import EvaluationPlan, check_plan
    from stillhouse.evaluator.rows import read_rows
    from stillhouse.evaluator.summary import Subject
    from stillhouse.programs.kept import checked_guidance
    from stillhouse.roles.metric_reference import load_metric

    content = read_file(validation)  # once: a pipe has nothing more to say
    rows = list(read_rows(lines_in(BytesIO(content), source=validation.name), role, source=validation.name))
    subject = Subject(
        role=role.name,
        role_version=role.version,
        model_sha256="",
        validation_sha256=sha256(content).hexdigest(),
        **conditions,
    )
    with as_usage("--metric"):
        own_metric = load_metric(subject.metric) if subject.metric else None
    plan = EvaluationPlan(
        role=role,
        metric=own_metric,
        rows=rows,
        subject=subject,
        gates=gates,
        reference_score=reference,
        reference_source="validation" if reference else "",
        baseline=baseline,
        guidance=checked_guidance(program, role) if program is not None else None,
    )
    check_plan(plan)
    return plan


def _read_baseline(path: Path | None) -> Baseline | None:
    from stillhouse.cli.files import read_file
    from stillhouse.evaluator.summary import read_baseline

    return None if path is None else read_baseline(read_file(path), source=str(path))
