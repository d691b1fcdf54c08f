"""Requests of the stages from a spec and what earlier stages made. Pure; called by the pipeline."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from stillhouse.controller import costs
from stillhouse.controller import teacher_requests as teacher
from stillhouse.spec.models import DistillationSpec
from stillhouse.spec.presets import Recipe, resolve
from stillhouse.spec.values import bound, number
from stillhouse.teachers.seeds import EVALUATION_SEEDS
from stillhouse.v1.artifact_pb2 import Artifact, ArtifactSet
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest, BuildDatasetResult, DatasetImport
from stillhouse.v1.evaluator_pb2 import (
    CONSTRAINT_KIND_NONE,
    CONSTRAINT_KIND_ROLE_GRAMMAR,
    EvaluateRequest,
    EvaluateResult,
    Gate,
)
from stillhouse.v1.exporter_pb2 import ExportRequest
from stillhouse.v1.optimizer_pb2 import OptimizeResult
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsResult
from stillhouse.v1.trainer_pb2 import Lora, PrepareBaseRequest, PrepareBaseResult, Training, TrainRequest, TrainResult

MessageT = TypeVar("MessageT", bound=Message)

_DECIMALS = frozenset({"dropout", "learning_rate", "warmup_fraction", "weight_decay", "max_gradient_norm"})
"""Fields of LoRA and training that the spec writes as decimals."""

CONSTRAINTS = {"RoleGrammar": CONSTRAINT_KIND_ROLE_GRAMMAR, "None": CONSTRAINT_KIND_NONE}


@dataclass(frozen=True)
class Inputs:
    """What the spec names from outside, as artifacts in the store; `imports` in the spec's order.

    `stage_imports` are those of the teacher's stages, None where a stage asks a model.
    """

    imports: tuple[Artifact, ...] = ()
    concepts: Artifact | None = None
    stage_imports: tuple[Artifact | None, ...] = ()
    validation: Artifact | None = None
    base_directory: ArtifactSet | None = None
    optimization_train: Artifact | None = None
    optimization_validation: Artifact | None = None


def check(spec: DistillationSpec) -> None:
    """Raises InvalidArgument for what the models cannot see, such as unknown roles, presets and prices."""
    training_options(spec)
    build_dataset(spec, Inputs(tuple(Artifact() for _ in spec.dataset.imports)))
    teacher.check(spec)
    costs.check(spec)


def build_dataset(
    spec: DistillationSpec, inputs: Inputs, generated: GenerateRecordsResult | None = None
) -> BuildDatasetRequest:
    """The data set, of the teacher's records and of imports.

    Without validation rows, part of the input groups is held out (70/15/15).
    """
    dataset = spec.dataset
    train, validation = (number(fraction) for fraction in dataset.fractions)
    return BuildDatasetRequest(
        role=teacher.role_reference(spec),
        imports=([] if generated is None else [DatasetImport(rows=generated.records, source="the teacher's records")])
        + [
            DatasetImport(rows=artifact, model=source.model or "", source=source.uri or "synthesized records")
            for artifact, source in zip(inputs.imports, dataset.imports, strict=True)
        ],
        validation=inputs.validation,
        validation_source=dataset.validation.uri if dataset.validation is not None else "",
        guards=teacher.guards(spec),
        min_score=number(dataset.min_score),
        train_fraction=train,
        validation_fraction=validation,
        seed=dataset.split.seed,
        min_records=dataset.min_records,
        min_mean_score=number(dataset.min_mean_score),
        balance=teacher.balance(spec),
        metric=dataset.metric or "",
    )


def prepare_base(spec: DistillationSpec, inputs: Inputs) -> PrepareBaseRequest:
    """The base model; a directory from outside is named by its content alone."""
    if inputs.base_directory is not None:
        return PrepareBaseRequest(directory=inputs.base_directory)
    return PrepareBaseRequest(name=spec.student.base, revision=spec.student.revision or "")


def train(spec: DistillationSpec, base: PrepareBaseResult, dataset: BuildDatasetResult) -> TrainRequest:
    """The fine-tuning, its options filled in from the preset and the defaults."""
    lora, training = training_options(spec)
    return TrainRequest(
        role=teacher.role_reference(spec),
        base=base.base,
        train=dataset.train,
        tuning=dataset.tuning,
        lora=lora,
        training=training,
    )


def training_options(spec: DistillationSpec) -> tuple[Lora, Training]:
    """Spec before preset before default. Raises InvalidArgument for an unknown preset."""
    given = spec.student.lora.model_dump() | spec.student.training.model_dump()
    given["use_rslora"] = given.pop("rslora")
    options = {
        name: number(value) if name in _DECIMALS and value is not None else value for name, value in given.items()
    }
    return recipe_messages(resolve(spec.student.preset, options))


def recipe_messages(recipe: Recipe) -> tuple[Lora, Training]:
    """A recipe as the two messages of a training request."""
    values = dataclasses.asdict(recipe)
    return (
        Lora(**{field.name: values[field.name] for field in Lora.DESCRIPTOR.fields}),
        Training(**{field.name: values[field.name] for field in Training.DESCRIPTOR.fields}),
    )


def export(
    spec: DistillationSpec, base: PrepareBaseResult, dataset: BuildDatasetResult, training: TrainResult
) -> ExportRequest:
    """The student as GGUF."""
    return ExportRequest(
        role=teacher.role_reference(spec),
        base=base.base,
        adapter=training.adapter,
        quantization=spec.export.quantization or "",
        probes=dataset.tuning,
        max_kl_divergence=number(spec.export.max_kl_divergence),
        model_name=spec.serve.name or f"{spec.role.replace('_', '-')}-student",
        base_name=_base_name(spec),
        base_license=base.license,
        data_source=_data_source(spec),
    )


def export_base(spec: DistillationSpec, base: PrepareBaseResult) -> ExportRequest:
    """The base itself, quantized as the student is. It names no data set, so that Distillations share it."""
    return ExportRequest(
        role=teacher.role_reference(spec),
        base=base.base,
        quantization=spec.export.quantization or "",
        max_kl_divergence=number(spec.export.max_kl_divergence),
        model_name="base",
        base_name=_base_name(spec),
        base_license=base.license,
    )


def evaluate(
    spec: DistillationSpec,
    model: Artifact,
    dataset: BuildDatasetResult,
    constraint: str,
    *,
    baseline: EvaluateResult | None,
    gated: bool,
    teacher_result: EvaluateResult | None = None,
    program: Artifact | None = None,
) -> EvaluateRequest:
    """The model on the held-out rows under a constraint, with the spec's gates where it is `gated`.

    It is asked with the prompt of a `program`, or with the role's own.
    The reference is the teacher's score on the same rows where it has one, else that of its records.
    """
    return EvaluateRequest(
        role=teacher.role_reference(spec),
        model=model,
        validation=dataset.validation,
        constraint=CONSTRAINTS[constraint],
        max_tokens=spec.evaluation.max_tokens,
        temperature=number(spec.evaluation.temperature),
        seed=spec.evaluation.seed,
        gates=gates(spec) if gated else [],
        reference_score=dataset.teacher_scores.mean
        if teacher_result is None
        else teacher_result.evaluation.scores.mean,
        reference_source="dataset" if teacher_result is None else "validation",
        baseline=None if baseline is None else baseline.summary,
        metric=spec.dataset.metric or "",
        program=program,
    )


def evaluate_teacher(
    spec: DistillationSpec,
    dataset: BuildDatasetResult,
    generated: GenerateRecordsResult | None,
    optimized: OptimizeResult | None = None,
) -> EvaluateRequest:
    """The first model of the teacher on the held-out rows, asked as its stage asks, for what is left of the budget.

    Its seeds are its own: with those of the generation, rows that were cut from its records would get the very answers
    that were good enough to be accepted.
    """
    request = EvaluateRequest(
        role=teacher.role_reference(spec),
        teacher=teacher.stage_model(teacher.first_asked(spec), teacher.program_of(optimized)),
        validation=dataset.validation,
        constraint=CONSTRAINT_KIND_NONE,
        seed=spec.evaluation.seed + EVALUATION_SEEDS,
        metric=spec.dataset.metric or "",
        prices=teacher.prices(spec),
    )
    spent = (made.cost_usd for made in (generated, optimized) if made is not None)
    if (left := teacher.budget_left(spec, *spent)) is not None:
        request.max_cost_usd = left
    return request


def gates(spec: DistillationSpec) -> list[Gate]:
    """The spec's gates; those that are switched off are left out."""
    wanted = spec.evaluation.gates
    lower = {
        "score_mean": wanted.min_score,
        "valid_rate": wanted.min_valid_rate,
        "guard_rate": wanted.min_guard_rate,
        "margin_over_base": wanted.min_margin_over_base,
    }
    upper = {"gap": wanted.max_gap, "median_seconds": wanted.max_median_seconds}
    return [Gate(figure=figure, min=least) for figure, text in lower.items() if (least := bound(text)) is not None] + [
        Gate(figure=figure, max=most) for figure, text in upper.items() if (most := bound(text)) is not None
    ]


def is_directory_base(base: str) -> bool:
    """True if the base is a directory of the user's own, here or in the store, not a builtin or a hub name."""
    return base.startswith(("/", "./", "../", "~", "file://", "sha256:"))


def _base_name(spec: DistillationSpec) -> str:
    return "a local directory" if is_directory_base(spec.student.base) else spec.student.base


def _data_source(spec: DistillationSpec) -> str:
    named = [
        f"an emulated {stage.model}" if stage.provider == "emulator" else stage.model
        for stage in spec.teacher_stages
        if stage.import_ is None
    ]
    imports = [*spec.dataset.imports, *(stage.import_ for stage in spec.teacher_stages if stage.import_ is not None)]
    named += [source.model for source in imports if source.model]
    if any(source.synthesized for source in imports):
        named.append("the role's scripted author")
    return ", ".join(dict.fromkeys(named)) or "imported records"


def located(request: MessageT, *, store_uri: str, student_address: str = "") -> MessageT:
    """A copy that says where its artifacts lie and, for an evaluation of a model, who serves it."""
    copy = type(request)()
    copy.CopyFrom(request)
    copy.store_uri = store_uri  # type: ignore[attr-defined]
    if student_address:
        copy.student_address = student_address  # type: ignore[attr-defined]
    return copy
