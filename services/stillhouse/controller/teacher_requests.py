"""The teacher's part of a spec as messages: the generate request, its models and prices. Pure.

Called by `pipeline`, and by `requests` for what the data set asks of records wherever they come from.
"""

from __future__ import annotations

import re
from collections import Counter

from stillhouse.errors import InvalidArgument
from stillhouse.roles.role import load_role
from stillhouse.spec.models import DistillationSpec
from stillhouse.spec.teacher import DEFAULT_RECORDS
from stillhouse.spec.teacher import TeacherStage as StageSpec
from stillhouse.spec.values import number
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.dataset_builder_pb2 import BalanceTarget, DatasetImport
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
) -> GenerateRecordsRequest:
    """The generation; `stage_imports` are in the order of the stages."""
    dataset = spec.dataset
    request = GenerateRecordsRequest(
        role=role_reference(spec),
        concepts=concepts,
        stages=[_stage(stage, imported) for stage, imported in zip(spec.teacher_stages, stage_imports, strict=True)],
        guards=guards(spec),
        metric=dataset.metric or "",
        balance=balance(spec),
        when_exhausted=_EXHAUSTED[dataset.concepts.when_exhausted if dataset.concepts else "Stop"],
        seed=dataset.teacher.seed if dataset.teacher else 0,
        validation=validation,
        prices=prices(spec),
    )
    if (limit := max_cost_usd(spec)) is not None:
        request.max_cost_usd = limit
    return request


def check(spec: DistillationSpec) -> None:
    """Raises InvalidArgument, naming the path, for what the models cannot see: an endpoint that its provider can't use,
    a provider that can't be asked that way, two balance targets for one label.
    """
    for index, stage in enumerate(spec.teacher_stages):
        if stage.import_ is None and (problem := _endpoint_problem(stage)):
            where = f"spec.dataset.teacher.stages[{index}].endpoint"
            raise InvalidArgument(f"{where}: {problem}", field=where)
    repeated = [key for key, count in Counter((t.label, t.value) for t in spec.dataset.balance).items() if count > 1]
    if repeated:
        where = "spec.dataset.balance"
        raise InvalidArgument(f"{where}: {'='.join(repeated[0])} is named twice", field=where)


def _endpoint_problem(stage: StageSpec) -> str:
    endpoint = stage.endpoint or ""
    if stage.provider == "gguf":
        return f"a gguf file is read on this machine; leave {endpoint!r} out" if endpoint else ""
    if stage.provider == "student":
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


def teacher_model(stage: StageSpec) -> TeacherModel:
    """The model of a stage that asks one."""
    model = TeacherModel(
        provider="vertex" if stage.provider == "vertex_sdk" else stage.provider,
        model=stage.model,
        prompt=PROMPTS[stage.prompt],
        temperature=number(stage.temperature),
        max_output_tokens=stage.max_output_tokens,
        endpoint=stage.endpoint or "",
        project=stage.project or "",
        location=stage.location,
        concurrency=stage.concurrency or 0,
        requests_per_minute=stage.requests_per_minute or 0,
        tokens_per_minute=stage.tokens_per_minute or 0,
        deadline_seconds=stage.deadline_seconds,
    )
    if stage.thinking_budget is not None:
        model.thinking_budget = stage.thinking_budget
    if stage.provider == "emulator":
        emulator = stage.emulator
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


def max_cost_usd(spec: DistillationSpec) -> float | None:
    """The budget, None for none."""
    return None if spec.budget.max_cost_usd is None else number(spec.budget.max_cost_usd)


def _stage(stage: StageSpec, imported: Artifact | None) -> TeacherStage:
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
        message.teacher.CopyFrom(teacher_model(stage))
    return message
