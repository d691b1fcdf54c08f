"""`stillhouse evaluate`: a served student over validation rows, without a Distillation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stillhouse.cli.errors import as_usage

if TYPE_CHECKING:
    from stillhouse.evaluator.evaluation import EvaluationPlan, Measured
    from stillhouse.evaluator.summary import Baseline
    from stillhouse.roles.role import Role
    from stillhouse.v1.evaluator_pb2 import Gate

TOKEN_VARIABLE = "STILLHOUSE_TOKEN"  # noqa: S105 - its name, not a token


def evaluate(
    validation: Annotated[Path, typer.Option(help="JSONL: rows or data set records.")],
    student: Annotated[str, typer.Option(metavar="HOST:PORT", help="A student server (stillhouse serve-student).")],
    output: Annotated[Path, typer.Option(help="The whole evaluation as JSON.")],
    role: Annotated[str, typer.Option(help="The role that asks and judges.")] = "product_owner",
    grammar: Annotated[str, typer.Option(help="role: answers are held to the role's grammar; or none.")] = "role",
    max_tokens: Annotated[int, typer.Option(min=1, max=32_768, help="Tokens an answer.")] = 1024,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0)] = 42,
    gate: Annotated[
        list[str] | None,
        typer.Option(metavar="FIGURE>=N", help="A bound: score_mean>=0.75, median_seconds<=10; exit 1 if it fails."),
    ] = None,
    reference: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="The teacher's mean score, for the gap.")
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="EVAL.json of the base model on the same rows.")] = None,
    metric: Annotated[str, typer.Option(help="module:function of your own metric, in place of the role's.")] = "",
    rows_output: Annotated[Path | None, typer.Option(help="JSONL of every row with its answer.")] = None,
    store: Annotated[
        str | None, typer.Option(help="Object store to keep answers in: the same command again goes on.")
    ] = None,
    token: Annotated[str | None, typer.Option(envvar=TOKEN_VARIABLE, help="Bearer token of the server.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificate of the authority, for TLS.")] = None,
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for the server to be ready.")] = 30.0,
    json_output: Annotated[bool, typer.Option("--json", help="The evaluation as JSON instead of tables.")] = False,
) -> None:
    """Measures a student on held-out rows: score, valid and guard rate, seconds; decides gates."""
    from stillhouse.cli.evaluation_tables import show_evaluation
    from stillhouse.cli.files import write_json, write_lines
    from stillhouse.cli.tables import console, print_json
    from stillhouse.dataset.lines import json_line
    from stillhouse.errors import EXIT_CHECK_FAILED
    from stillhouse.evaluator.summary import row_document
    from stillhouse.roles.role import load_role

    with as_usage("--role"):
        chosen = load_role(role)
    with as_usage("--gate"):
        gates = [_gate(text) for text in gate or ()]
    if grammar not in ("role", "none"):
        raise typer.BadParameter(f"{grammar!r} is neither role nor none", param_hint="--grammar")
    plan = _plan(
        chosen,
        validation,
        {
            "constraint": "role_grammar" if grammar == "role" else "none",
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
            "metric": metric,
        },
        gates,
        reference=reference or None,
        baseline=_read_baseline(baseline),
    )
    measured = _measure(plan, student, store_uri=store, token=token, ca=ca, wait_seconds=wait)
    document = {**measured.document, "student": student}
    write_json(output, document)
    if rows_output is not None:
        write_lines(rows_output, (json_line(row_document(result)) for result in measured.results))
    if json_output:
        print_json(document)
    else:
        show_evaluation(console(), document, output)
    if not measured.passed:
        raise typer.Exit(EXIT_CHECK_FAILED)


def _gate(text: str) -> Gate:
    """`FIGURE>=N` or `FIGURE<=N`. Raises InvalidArgument."""
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
            return Gate(figure=figure.strip(), min=bound) if sign == ">=" else Gate(figure=figure.strip(), max=bound)
    raise InvalidArgument(f"{text!r} is not FIGURE>=N or FIGURE<=N with a figure of {', '.join(FIGURES)}")


def _plan(
    role: Role,
    validation: Path,
    conditions: dict[str, Any],
    gates: list[Gate],
    *,
    reference: float | None,
    baseline: Baseline | None,
) -> EvaluationPlan:
    """Raises InvalidArgument that names file and line of a broken row, or the gate that can't be decided."""
    from hashlib import sha256

    from stillhouse.dataset.lines import lines_of
    from stillhouse.evaluator.evaluation import EvaluationPlan, check_plan
    from stillhouse.evaluator.rows import read_rows
    from stillhouse.evaluator.summary import Subject
    from stillhouse.roles.metric_reference import load_metric

    rows = list(read_rows(lines_of(validation), role, source=validation.name))
    subject = Subject(
        role=role.name,
        role_version=role.version,
        model_sha256="",
        validation_sha256=sha256(validation.read_bytes()).hexdigest(),
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
    )
    check_plan(plan)
    return plan


def _read_baseline(path: Path | None) -> Baseline | None:
    from stillhouse.cli.files import existing_file
    from stillhouse.evaluator.summary import read_baseline

    return None if path is None else read_baseline(existing_file(path).read_bytes(), source=str(path))


def _measure(
    plan: EvaluationPlan,
    address: str,
    *,
    store_uri: str | None,
    token: str | None,
    ca: Path | None,
    wait_seconds: float,
) -> Measured:
    from stillhouse.artifacts.answers import AnswerLog
    from stillhouse.artifacts.store import Store
    from stillhouse.cli.jobs import progress_line
    from stillhouse.cli.tables import remarks
    from stillhouse.errors import Cancelled
    from stillhouse.evaluator.asking import Patience
    from stillhouse.evaluator.connection import connect
    from stillhouse.evaluator.evaluation import measure
    from stillhouse.rpc.process import stop_on_signals

    log = AnswerLog(Store.open(store_uri)) if store_uri else None
    with (
        stop_on_signals() as stopping,
        connect(address, token=token, ca=ca, wait_seconds=wait_seconds, stopping=stopping.event) as student,
        progress_line(remarks()) as report,
    ):
        try:
            patience = Patience(away_seconds=wait_seconds)
            return measure(plan, student, log=log, report=report, stopping=stopping.event, patience=patience)
        except Cancelled as exc:
            if stopping.event.is_set():
                raise typer.Exit(stopping.exit_code) from exc
            raise
