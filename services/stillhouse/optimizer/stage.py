"""The optimize stage: an OptimizeRequest against a store to a program and its metadata. Called by the Job.

Here the models are opened and the files are read and written; what is searched for is decided below.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import dspy

from stillhouse.artifacts.answers import AnswerLog
from stillhouse.client.dspy import StudentEngine
from stillhouse.client.settings import StudentSettings
from stillhouse.client.student import StudentClient
from stillhouse.client.waiting import wait_until_ready
from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.optimizer.journal import Journal
from stillhouse.optimizer.metadata import DataSet, Names, metadata_document, versions
from stillhouse.optimizer.models import (
    StudentSubject,
    Subject,
    language_model,
    open_teacher_subject,
    proposing,
    teacher_name,
)
from stillhouse.optimizer.optimization import Optimized, optimize
from stillhouse.optimizer.options import options_of
from stillhouse.optimizer.plan import Models, Search
from stillhouse.optimizer.rows import Rows, are_answered, check_apart, read_examples
from stillhouse.optimizer.scoring import Scoring
from stillhouse.optimizer.usage import Limits
from stillhouse.programs.document import json_bytes, program_bytes
from stillhouse.programs.folder import DIGEST, METADATA_FILE, PROGRAM_FILE
from stillhouse.roles.metric_reference import load_metric, metric_digest
from stillhouse.roles.requested import check_version
from stillhouse.roles.role import Role, load_role
from stillhouse.rpc.operation import JobContext
from stillhouse.teachers.budget import Budget
from stillhouse.teachers.dialogue import check_sampling
from stillhouse.teachers.prices import price_of
from stillhouse.teachers.purse import Purse
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.evaluator_pb2 import CONSTRAINT_KIND_NONE, CONSTRAINT_KIND_ROLE_GRAMMAR
from stillhouse.v1.optimizer_pb2 import OptimizeRequest, OptimizeResult
from stillhouse.v1.teacher_pb2 import TeacherModel

_MAX_TOKENS = 65_536
_JSON = "application/json"


def run(
    context: JobContext, request: OptimizeRequest, settings: StudentSettings, *, environ: Mapping[str, str]
) -> OptimizeResult:
    """Optimises, and puts program.json and metadata.json into the store. `environ` holds teachers' credentials.

    Raises InvalidArgument (rows, options), FailedPrecondition (another model or version, few readable answers), what
    the models raise, and Cancelled.
    """
    role = load_role(request.role.name)
    check_version(role, request.role)
    _check(request)
    train, validation, held_out = _read_rows(context, request, role)
    rows = validation.examples
    options = options_of(request, validation_rows=len(rows), answered=are_answered(train.examples, role))
    journal = Journal(
        AnswerLog(context.store),
        limits=_limits(request),
        stopping=context.stopping,
        elapsed_seconds=context.elapsed_seconds,
    )
    scoring = Scoring(role, load_metric(request.metric) if request.metric else None, journal)
    with _models(context, request, role, journal, settings, environ) as models:
        names = _names(models)
        metric = metric_digest(request.metric) if request.metric else role.version
        _check_began(context, role, names, metric)
        plan = Search(
            program=role.dspy_program,
            options=options,
            models=models,
            scoring=scoring,
            train=train.examples,
            validation=rows[: options.validation_rows],
            held_out=held_out.examples if held_out and request.evaluate_held_out else (),
            min_baseline_valid=request.min_baseline_valid,
        )
        optimized = optimize(plan, role, journal, report=context.report)
    document = metadata_document(
        request,
        role,
        options,
        optimized,
        names=names,
        metric_version=metric,
        train=DataSet(train.source, request.train.sha256, len(train.examples)),
        validation=DataSet(validation.source, request.validation.sha256, len(rows)),
        held_out=DataSet(held_out.source, request.held_out.sha256, len(held_out.examples)) if held_out else None,
        seconds=context.elapsed_seconds(),
    )
    return _commit(context, optimized, document)


def _check(request: OptimizeRequest) -> None:
    if request.HasField("model") == request.HasField("teacher"):
        raise InvalidArgument("the request names a model or a teacher to optimise for, one of them", field="model")
    if request.HasField("model") and not request.student_address:
        raise InvalidArgument("the request names no student that serves its model", field="student_address")
    if request.constraint not in (CONSTRAINT_KIND_NONE, CONSTRAINT_KIND_ROLE_GRAMMAR):
        raise InvalidArgument("constraint is to be none or the role grammar", field="constraint")
    if request.HasField("teacher") and request.constraint != CONSTRAINT_KIND_NONE:
        raise InvalidArgument("a teacher is not held to the role's grammar: its constraint is none", field="constraint")
    if request.evaluate_held_out and not request.HasField("held_out"):
        raise InvalidArgument("no rows are held out that the result could be evaluated on", field="held_out")
    _check_numbers(request)
    for name in ("teacher", "prompt_model", "demo_model"):
        if request.HasField(name):
            _check_model(request, name)


def _check_numbers(request: OptimizeRequest) -> None:
    if not 1 <= request.max_tokens <= _MAX_TOKENS:
        raise InvalidArgument(f"max_tokens {request.max_tokens} is not within 1 and {_MAX_TOKENS}", field="max_tokens")
    if not 0 <= request.temperature <= 2:
        raise InvalidArgument(f"temperature {request.temperature:g} is not within 0 and 2", field="temperature")
    if not 0 <= request.min_baseline_valid <= 1:
        raise InvalidArgument(
            f"min_baseline_valid {request.min_baseline_valid:g} is not within 0 and 1", field="min_baseline_valid"
        )
    if request.concurrency < 0:
        raise InvalidArgument(f"concurrency {request.concurrency} is below 0", field="concurrency")


def _check_model(request: OptimizeRequest, name: str) -> None:
    model: TeacherModel = getattr(request, name)
    if name != "teacher":
        check_sampling(model, place=name)
    if request.HasField("max_cost_usd") and price_of(model, request.prices) is None:
        raise InvalidArgument(
            f"the price of {model.provider}:{model.model} is not known, so that max_cost_usd can't be kept; set "
            "max_calls or max_total_tokens in its place, or take a model with a price",
            field=name,
        )


def _read_rows(context: JobContext, request: OptimizeRequest, role: Role) -> tuple[Rows, Rows, Rows | None]:
    """Training and validation rows and, where there are any, those that are held out; no input is in two of them."""

    def rows(artifact: Artifact, source: str) -> Rows:
        return Rows(source, read_examples(context.store.open_lines(artifact), role, source=source))

    train = rows(request.train, _source(request, "train"))
    validation = rows(request.validation, _source(request, "validation"))
    check_apart(train, validation, role)
    if not request.HasField("held_out"):
        return train, validation, None
    held_out = rows(request.held_out, request.held_out_source or "the held-out rows")
    check_apart(train, held_out, role)
    check_apart(validation, held_out, role)
    return train, validation, held_out


def _limits(request: OptimizeRequest) -> Limits:
    def given(name: str) -> float | None:
        value: float | None = getattr(request, name) if request.HasField(name) else None  # type: ignore[arg-type]
        if value is not None and not value >= 0:
            raise InvalidArgument(f"{name} {value:g} is below 0", field=name)
        return value

    calls, tokens = given("max_calls"), given("max_total_tokens")
    return Limits(
        max_calls=None if calls is None else int(calls),
        max_total_tokens=None if tokens is None else int(tokens),
        max_cost_usd=given("max_cost_usd"),
        max_seconds=given("max_seconds"),
    )


@contextmanager
def _models(
    context: JobContext,
    request: OptimizeRequest,
    role: Role,
    journal: Journal,
    settings: StudentSettings,
    environ: Mapping[str, str],
) -> Iterator[Models]:
    """All that are asked, each opened once; closed afterwards."""
    # The journal keeps the limit: it knows of answers that were paid for before.
    purse = Purse(AnswerLog(context.store), Budget(None), environ, tuple(request.prices))
    with ExitStack() as stack:
        if request.HasField("teacher"):
            subject: Subject
            subject, teacher = stack.enter_context(open_teacher_subject(request.teacher, purse, context.stopping))
            name, slots = teacher_name(teacher, request.teacher), request.teacher.concurrency or 4
        else:
            subject, name, slots = stack.enter_context(_student(context, request, role, settings))
        task = language_model(name, subject, journal, max_tokens=request.max_tokens, temperature=request.temperature)

        def other(model: TeacherModel) -> dspy.LM:
            opened, teacher = stack.enter_context(open_teacher_subject(model, purse, context.stopping))
            return language_model(
                teacher_name(teacher, model),
                opened,
                journal,
                max_tokens=model.max_output_tokens,
                temperature=model.temperature,
            )

        own = task if request.HasField("teacher") else proposing(task)
        prompt = other(request.prompt_model) if request.HasField("prompt_model") else own
        demo = other(request.demo_model) if request.HasField("demo_model") else None
        yield Models(task, prompt, demo, threads=request.concurrency or slots)


@contextmanager
def _student(
    context: JobContext, request: OptimizeRequest, role: Role, settings: StudentSettings
) -> Iterator[tuple[StudentSubject, str, int]]:
    held = role if request.constraint == CONSTRAINT_KIND_ROLE_GRAMMAR else None
    address = request.student_address
    with StudentClient(address, token=settings.student_token, ca=settings.student_ca, retries=False) as client:
        info = wait_until_ready(client, wait_seconds=settings.wait_seconds, stopping=context.stopping)
        if info.model.sha256 != request.model.sha256:
            raise FailedPrecondition(
                f"the student at {address} serves {info.model.sha256[:12] or 'a model that it does not name'}, not "
                f"{request.model.sha256[:12]} which is to be optimised; start that one",
                field="model",
            )
        engine = StudentEngine(
            client,
            model_sha256=info.model.sha256,
            role=held,
            shared_prefix=(request.concurrency or info.slots) > 1,
            deadline_seconds=settings.row_deadline_seconds,
        )
        subject = StudentSubject(engine, stopping=context.stopping, patience_seconds=settings.wait_seconds)
        yield subject, engine.model, max(info.slots, 1)


def _names(models: Models) -> Names:
    return Names(models.task.model, models.prompt.model, (models.demo or models.task).model)


def _check_began(context: JobContext, role: Role, names: Names, metric: int | str) -> None:
    """A run that was cut off goes on only with what it began with: anything else would replay it to another end."""
    source = inspect.getsource(type(role.dspy_program()))
    program = hashlib.sha256(source.encode()).hexdigest()[:16]
    now = {**versions(), "program": program, "metric": str(metric), "task": names.task}
    began = (context.read_checkpoint() or {}).get("began_with")
    if began is None:
        context.write_checkpoint({"began_with": {**now}})
    elif began != now:
        changed = [f"{name} {began.get(name)}, now {value}" for name, value in now.items() if began.get(name) != value]
        raise FailedPrecondition(
            f"this optimisation began with {'; '.join(changed)}: go on with what it began with, or begin anew with "
            "another seed"
        )


def _source(request: OptimizeRequest, which: str) -> str:
    named: str = getattr(request, f"{which}_source")
    return named or getattr(request, which).name or which


def _commit(context: JobContext, optimized: Optimized, document: Mapping[str, Any]) -> OptimizeResult:
    program = context.store.put_bytes(
        program_bytes(optimized.program), name=PROGRAM_FILE, media_type=_JSON, producer_key=context.key
    )
    described = context.store.put_bytes(
        json_bytes({**document, DIGEST: program.sha256}), name=METADATA_FILE, media_type=_JSON, producer_key=context.key
    )
    found, usage = optimized.found, optimized.usage
    return OptimizeResult(
        program=program,
        metadata=described,
        baseline_score=found.baseline.score,
        score=found.best.score,
        baseline_valid_rate=found.baseline.valid_rate,
        valid_rate=found.best.valid_rate,
        trials=len(found.evaluations),
        calls=usage.calls,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        cost_usd=usage.cost_usd,
        ended_by=found.ended_by,
    )
