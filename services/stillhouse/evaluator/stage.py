"""The evaluate stage: an EvaluateRequest against a store to an EvaluateResult.

Called by the Job and by the servicer through it; a student arrives as a protocol, a teacher is opened by its reference.
"""

from __future__ import annotations

from collections.abc import Mapping

from stillhouse.artifacts.answers import AnswerLog
from stillhouse.artifacts.store import JSONL_MEDIA_TYPE
from stillhouse.dataset.lines import json_line
from stillhouse.errors import InvalidArgument
from stillhouse.evaluator.asking import Patience
from stillhouse.evaluator.evaluation import NO_CONSTRAINT, ROLE_GRAMMAR, EvaluationPlan, Measured, measure
from stillhouse.evaluator.rows import read_rows
from stillhouse.evaluator.student import Student
from stillhouse.evaluator.summary import Baseline, Subject, json_bytes, read_baseline, row_document
from stillhouse.evaluator.teacher import measure_teacher
from stillhouse.programs.kept import kept_guidance
from stillhouse.roles.metric_reference import load_metric
from stillhouse.roles.requested import check_version
from stillhouse.roles.role import load_role
from stillhouse.rpc.operation import JobContext
from stillhouse.teachers.budget import Budget
from stillhouse.teachers.purse import Purse
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.evaluator_pb2 import ConstraintKind, EvaluateRequest, EvaluateResult

CONSTRAINTS = {
    ConstraintKind.CONSTRAINT_KIND_NONE: NO_CONSTRAINT,
    ConstraintKind.CONSTRAINT_KIND_ROLE_GRAMMAR: ROLE_GRAMMAR,
}
REFERENCE_SOURCES = ("validation", "dataset")


def evaluate(
    context: JobContext, request: EvaluateRequest, student: Student, *, patience: Patience | None = None
) -> EvaluateResult:
    """Evaluates the student on the request's rows; the answers are kept in the store's answer log.

    Raises InvalidArgument, FailedPrecondition, Unavailable and Cancelled as `measure` does.
    """
    plan = plan_of(context, request)
    measured = measure(
        plan,
        student,
        log=AnswerLog(context.store),
        report=context.report,
        stopping=context.stopping,
        patience=patience,
    )
    return _commit(context, measured)


def evaluate_teacher(context: JobContext, request: EvaluateRequest, *, environ: Mapping[str, str]) -> EvaluateResult:
    """Evaluates the request's teacher on its rows; `environ` holds credentials.

    Raises what `measure_teacher` does.
    """
    limit = request.max_cost_usd if request.HasField("max_cost_usd") else None
    purse = Purse(AnswerLog(context.store), Budget(limit), environ, tuple(request.prices))
    plan = plan_of(context, request)
    measured = measure_teacher(plan, request.teacher, purse, report=context.report, stopping=context.stopping)
    return _commit(context, measured)


def plan_of(context: JobContext, request: EvaluateRequest) -> EvaluationPlan:
    """The request with its rows and baseline read from the store. Raises InvalidArgument where it is wrong.

    A teacher's own limit on tokens and its own temperature take the place of the request's.
    """
    _check_subject(request)
    role = load_role(request.role.name)
    check_version(role, request.role)
    is_teacher, program = request.HasField("teacher"), _program(request)
    lines = context.store.open_lines(request.validation)
    return EvaluationPlan(
        role=role,
        metric=load_metric(request.metric) if request.metric else None,
        rows=list(read_rows(lines, role, source=request.validation.name or "validation")),
        subject=Subject(
            role=role.name,
            role_version=role.version,
            model_sha256=request.model.sha256,
            validation_sha256=request.validation.sha256,
            constraint=CONSTRAINTS[request.constraint],
            max_tokens=request.teacher.max_output_tokens if is_teacher else request.max_tokens,
            temperature=request.teacher.temperature if is_teacher else request.temperature,
            seed=request.seed,
            metric=request.metric,
            program="" if program is None else program.sha256,
        ),
        gates=list(request.gates),
        reference_score=request.reference_score or None,
        reference_source=_reference_source(request),
        baseline=_baseline(context, request),
        guidance=None if program is None else kept_guidance(context.store, program, role),
    )


def _check_subject(request: EvaluateRequest) -> None:
    if request.constraint not in CONSTRAINTS:
        raise InvalidArgument("constraint is to be none or the role grammar", field="constraint")
    if not request.validation.sha256:
        raise InvalidArgument("the request names no validation", field="validation")
    if not request.HasField("teacher"):
        if not request.model.sha256:
            raise InvalidArgument("the request names no model, and no teacher", field="model")
    elif request.HasField("program"):
        raise InvalidArgument("a teacher's program is named with the teacher: teacher.program", field="program")
    elif request.HasField("model") or request.student_address:
        raise InvalidArgument("the request names a teacher and a model; evaluate them one by one", field="teacher")
    elif CONSTRAINTS[request.constraint] != NO_CONSTRAINT:
        raise InvalidArgument("a teacher is not held to the role's grammar: its constraint is none", field="constraint")


def _program(request: EvaluateRequest) -> Artifact | None:
    """A teacher's program is part of the teacher."""
    if request.HasField("teacher"):
        return request.teacher.program if request.teacher.HasField("program") else None
    return request.program if request.HasField("program") else None


def _reference_source(request: EvaluateRequest) -> str:
    if request.reference_score and request.reference_source not in REFERENCE_SOURCES:
        raise InvalidArgument(
            f"reference_source {request.reference_source!r} is none of {', '.join(REFERENCE_SOURCES)}",
            field="reference_source",
        )
    return request.reference_source


def _baseline(context: JobContext, request: EvaluateRequest) -> Baseline | None:
    if not request.HasField("baseline"):
        return None
    return read_baseline(context.store.read_bytes(request.baseline), source=request.baseline.name or "baseline")


def _commit(context: JobContext, measured: Measured) -> EvaluateResult:
    lines = "".join(json_line(row_document(result)) for result in measured.results)
    rows = context.store.put_bytes(
        lines.encode(), name="rows.jsonl", media_type=JSONL_MEDIA_TYPE, producer_key=context.key
    )
    summary = context.store.put_bytes(
        json_bytes(measured.document), name="evaluation.json", media_type="application/json", producer_key=context.key
    )
    return EvaluateResult(
        evaluation=measured.evaluation,
        gap=measured.gap,
        gates=measured.gates,
        passed=measured.passed,
        rows=rows,
        summary=summary,
        cost_usd=measured.cost_usd,
    )
