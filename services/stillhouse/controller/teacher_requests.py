"""The teacher's part of a spec as messages: the generate request, its models and prices. Pure.

Called by `pipeline`, and by `requests` for what the data set asks of records wherever they come from.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from google.protobuf.message import Message

from stillhouse.errors import InvalidArgument
from stillhouse.roles.role import load_role
from stillhouse.spec.models import DistillationSpec
from stillhouse.spec.teacher import DEFAULT_RECORDS
from stillhouse.spec.teacher import TeacherModel as ModelSpec
from stillhouse.spec.teacher import TeacherStage as StageSpec
from stillhouse.spec.values import number
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.dataset_builder_pb2 import BalanceTarget, DatasetImport
from stillhouse.v1.optimizer_pb2 import OptimizeRequest, OptimizeResult
from stillhouse.v1.teacher_generator_pb2 import (
    WHEN_EXHAUSTED_SECOND_ANSWER,
    WHEN_EXHAUSTED_STOP,
    GenerateRecordsRequest,
    TeacherStage,
)
from stillhouse.v1.teacher_pb2 import (
    TEACHER_PROMPT_FENCED,
    TEACHER_PROMPT_PLAIN,
    TEACHER_PROMPT_STRUCTURED,
    EmulatorOptions,
    ModelPrice,
    TeacherModel,
)

PROMPTS = {
    "Fenced": TEACHER_PROMPT_FENCED,
    "Structured": TEACHER_PROMPT_STRUCTURED,
    "Plain": TEACHER_PROMPT_PLAIN,
}
_HOST_AND_PORT = re.compile(r"[^\s/]+:[0-9]{1,5}")
_EXHAUSTED = {"Stop": WHEN_EXHAUSTED_STOP, "SecondAnswer": WHEN_EXHAUSTED_SECOND_ANSWER}


def generate(
    spec: DistillationSpec,
    concepts: Artifact | None,
    stage_imports: tuple[Artifact | None, ...],
    validation: Artifact | None,
    optimized: OptimizeResult | None = None,
) -> GenerateRecordsRequest:
    """The generation; `stage_imports` are in the order of the stages.

    Every model is asked with the `program_of` what was `optimized`, for what that has left of the budget.
    """
    dataset = spec.dataset
    program = program_of(optimized)
    request = GenerateRecordsRequest(
        role=role_reference(spec),
        concepts=concepts,
        stages=[
            _stage(stage, imported, program) for stage, imported in zip(spec.teacher_stages, stage_imports, strict=True)
        ],
        guards=guards(spec),
        metric=dataset.metric or "",
        balance=balance(spec),
        when_exhausted=_EXHAUSTED[dataset.concepts.when_exhausted if dataset.concepts else "Stop"],
        seed=dataset.teacher.seed if dataset.teacher else 0,
        validation=validation,
        prices=prices(spec),
    )
    if (left := budget_left(spec, 0.0 if optimized is None else optimized.cost_usd)) is not None:
        request.max_cost_usd = left
    return request


def program_of(optimized: OptimizeResult | None) -> Artifact | None:
    """The program that takes the place of the prompts of the teacher's stages.

    None where it scored no higher than the role's own prompt: then it shows a model less than a stage's prompt does.
    """
    return optimized.program if optimized is not None and optimized.score > optimized.baseline_score else None


def keeps_own_prompts(request: Message | None, result: OptimizeResult) -> bool:
    """Whether an optimisation was for a teacher, and found nothing that takes the place of its stages' prompts."""
    return isinstance(request, OptimizeRequest) and request.HasField("teacher") and program_of(result) is None


def check(spec: DistillationSpec) -> None:
    """Raises InvalidArgument, naming the path, for what the models cannot see: an endpoint that its provider can't use,
    a provider that can't be asked that way, two balance targets for one label.
    """
    for place, model in models_of(spec):
        if problem := _endpoint_problem(model):
            where = f"spec.{place}.endpoint"
            raise InvalidArgument(f"{where}: {problem}", field=where)
    repeated = [key for key, count in Counter((t.label, t.value) for t in spec.dataset.balance).items() if count > 1]
    if repeated:
        where = "spec.dataset.balance"
        raise InvalidArgument(f"{where}: {'='.join(repeated[0])} is named twice", field=where)


def models_of(spec: DistillationSpec) -> Iterator[tuple[str, ModelSpec]]:
    """Every model that is asked, with its place below the spec."""
    for index, stage in enumerate(spec.teacher_stages):
        if stage.import_ is None:
            yield f"dataset.teacher.stages[{index}]", stage
    if (wanted := spec.optimization) is not None:
        if wanted.prompt_model is not None:
            yield "optimization.promptModel", wanted.prompt_model
        if wanted.demo_model is not None:
            yield "optimization.demoModel", wanted.demo_model


def _endpoint_problem(model: ModelSpec) -> str:
    endpoint = model.endpoint or ""
    if model.provider == "gguf":
        return f"a gguf file is read on this machine; leave {endpoint!r} out" if endpoint else ""
    if model.provider == "student":
        return (
            "" if _HOST_AND_PORT.fullmatch(endpoint) else f"a student is asked at HOST:PORT; name it, not {endpoint!r}"
        )
    is_url = not endpoint or endpoint.startswith(("http://", "https://"))
    return "" if is_url else f"{endpoint!r} is no URL; write http://HOST:PORT or https://HOST"


def role_reference(spec: DistillationSpec) -> RoleReference:
    """The role with the version that is installed here. Raises InvalidArgument for an unknown one."""
    role = load_role(spec.role)
    return RoleReference(name=role.name, version=role.version)


def guards(spec: DistillationSpec) -> list[str]:
    """The guards that refuse a record. Raises InvalidArgument for one that the role does not have."""
    role = load_role(spec.role)
    wanted = role.guard_names if spec.dataset.guards is None else spec.dataset.guards
    unknown = sorted(set(wanted) - set(role.guard_names))
    if unknown:
        raise InvalidArgument(
            f"unknown guard {unknown[0]!r} of role {role.name}; known: {', '.join(role.guard_names)}",
            field="spec.dataset.guards",
        )
    return list(wanted)


def balance(spec: DistillationSpec) -> list[BalanceTarget]:
    """The most records by label."""
    return [
        BalanceTarget(label=target.label, value=target.value, max_records=target.max_records)
        for target in spec.dataset.balance
    ]


def first_asked(spec: DistillationSpec) -> StageSpec:
    """The teacher's first stage that asks a model."""
    return next(stage for stage in spec.teacher_stages if stage.import_ is None)


def stage_model(stage: StageSpec, program: Artifact | None = None) -> TeacherModel:
    """The model of a stage that asks one, with the stage's prompt or that of a `program`."""
    model = teacher_model(stage)
    model.prompt = PROMPTS[stage.prompt]
    if program is not None:
        model.program.CopyFrom(program)
    return model


def teacher_model(wanted: ModelSpec) -> TeacherModel:
    """A model that is asked with prompts that are made elsewhere."""
    model = TeacherModel(
        provider="vertex" if wanted.provider == "vertex_sdk" else wanted.provider,
        model=wanted.model,
        prompt=TEACHER_PROMPT_PLAIN,
        temperature=number(wanted.temperature),
        max_output_tokens=wanted.max_output_tokens,
        endpoint=wanted.endpoint or "",
        project=wanted.project or "",
        location=wanted.location,
        concurrency=wanted.concurrency or 0,
        requests_per_minute=wanted.requests_per_minute or 0,
        tokens_per_minute=wanted.tokens_per_minute or 0,
        deadline_seconds=wanted.deadline_seconds,
    )
    if wanted.thinking_budget is not None:
        model.thinking_budget = wanted.thinking_budget
    if wanted.provider == "emulator":
        emulator = wanted.emulator
        model.emulator.CopyFrom(
            EmulatorOptions(
                faults=emulator.faults,
                seed=emulator.seed,
                latency_seconds=number(emulator.latency_seconds),
                requests_per_minute=emulator.requests_per_minute,
            )
        )
    return model


def prices(spec: DistillationSpec) -> list[ModelPrice]:
    """The spec's own prices."""
    if spec.dataset.teacher is None:
        return []
    return [
        ModelPrice(
            model=price.model,
            input_per_million_usd=number(price.input_per_million_usd),
            output_per_million_usd=number(price.output_per_million_usd),
        )
        for price in spec.dataset.teacher.prices
    ]


def budget_left(spec: DistillationSpec, *spent_usd: float) -> float | None:
    """What is left of the budget in US dollars, 0 at least; None where there is no budget."""
    limit = spec.budget.max_cost_usd
    return None if limit is None else max(number(limit) - sum(spent_usd), 0.0)


def _stage(stage: StageSpec, imported: Artifact | None, program: Artifact | None) -> TeacherStage:
    records, until = stage.records or 0, stage.until or 0
    if stage.import_ is None and not records and not until:
        records = DEFAULT_RECORDS
    message = TeacherStage(
        name=stage.label, min_score=number(stage.min_score), records=records, until=until, attempts=stage.attempts
    )
    if stage.import_ is not None:
        source = DatasetImport(
            rows=imported, model=stage.import_.model or "", source=stage.import_.uri or "synthesized records"
        )
        getattr(message, "import").CopyFrom(source)
    else:
        message.teacher.CopyFrom(stage_model(stage, program))
    return message
