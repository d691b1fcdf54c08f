"""The steps of a Distillation in order, each with its request once what it needs is made. Pure; called by plan()."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from stillhouse import stages
from stillhouse.artifacts.digests import request_key
from stillhouse.artifacts.messages import unpack_as
from stillhouse.controller import optimization_requests, requests, teacher_requests
from stillhouse.controller.requests import Inputs
from stillhouse.spec.models import DistillationSpec
from stillhouse.spec.values import bound
from stillhouse.stages import StageDefinition
from stillhouse.v1.artifact_pb2 import Artifact, Manifest
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetResult
from stillhouse.v1.evaluator_pb2 import EvaluateResult
from stillhouse.v1.exporter_pb2 import ExportResult
from stillhouse.v1.optimizer_pb2 import OptimizeResult
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsResult
from stillhouse.v1.trainer_pb2 import PrepareBaseResult, TrainResult

ManifestReader = Callable[[str, str], Manifest | None]
ResultT = TypeVar("ResultT", bound=Message)


@dataclass(frozen=True)
class Step:
    """A step; `request` is None while a step that it needs is not done, which `waits_for` names."""

    name: str
    definition: StageDefinition
    request: Message | None
    waits_for: str = ""
    serves: Artifact | None = None


def steps_of(spec: DistillationSpec, inputs: Inputs, manifests: ManifestReader) -> Iterator[Step]:
    """All steps, cheapest checks first: data before the base, the base and the teacher before training.

    `generate` asks the teacher, where there is one. Every evaluation has its own step: `evaluate` holds the gates,
    `evaluate-base` is the base model under the same constraint, `evaluate-teacher` the teacher on the same rows,
    `evaluate-unconstrained` (or `-constrained`) is the student under the spec's second constraint,
    `evaluate-unoptimized` the student with the role's own prompt. `optimize` finds another one: for the teacher before
    `generate`, for the student behind `export`.
    """
    teacher_prompt_step = _teacher_optimization(spec, inputs)
    if teacher_prompt_step is not None:
        yield teacher_prompt_step
    optimized = _result(teacher_prompt_step, OptimizeResult, manifests)
    generate_step = _generate_step(spec, inputs, optimized)
    if generate_step is not None:
        yield generate_step
    generated = _result(generate_step, GenerateRecordsResult, manifests)
    dataset_step = _dataset_step(spec, inputs, generated)
    base_step = Step("base", stages.BASE, requests.prepare_base(spec, inputs))
    yield dataset_step
    yield base_step
    dataset = _result(dataset_step, BuildDatasetResult, manifests)
    base = _result(base_step, PrepareBaseResult, manifests)
    teacher_step = _teacher_step(spec, dataset, generated, optimized)
    if teacher_step is not None:
        yield teacher_step

    train_step = Step("train", stages.TRAIN, None, "dataset and base")
    if dataset is not None and base is not None:
        train_step = Step("train", stages.TRAIN, requests.train(spec, base, dataset))
    yield train_step
    training = _result(train_step, TrainResult, manifests)
    export_step, base_export_step = _export_steps(spec, base, dataset, training)
    yield export_step
    export = _result(export_step, ExportResult, manifests)
    base_export = None
    if compares_with_base(spec):
        yield base_export_step
        base_export = _result(base_export_step, ExportResult, manifests)
    evaluated = _result(teacher_step, EvaluateResult, manifests)
    paid = [result for result in (generated, evaluated) if result is not None]
    is_settled = teacher_step is None or evaluated is not None
    prompt_step = _student_optimization(spec, inputs, dataset, export, paid, is_settled=is_settled)
    yield from _evaluations(spec, dataset, _Models(export, base_export), teacher_step, prompt_step, manifests)


@dataclass(frozen=True)
class _Models:
    """What there is to serve, as far as it is exported."""

    student: ExportResult | None
    base: ExportResult | None


def _teacher_optimization(spec: DistillationSpec, inputs: Inputs) -> Step | None:
    """The search for the teacher's prompt, if the spec wants it; it needs nothing that is made here."""
    if spec.optimization is None or not spec.optimizes_teacher:
        return None
    return Step("optimize", stages.OPTIMIZE, optimization_requests.for_teacher(spec, spec.optimization, inputs))


def _generate_step(spec: DistillationSpec, inputs: Inputs, optimized: OptimizeResult | None) -> Step | None:
    """The teacher at work, where there is one."""
    if spec.dataset.teacher is None:
        return None
    if spec.optimizes_teacher and optimized is None:
        return Step("generate", stages.GENERATE, None, "optimize")
    request = teacher_requests.generate(spec, inputs.concepts, inputs.stage_imports, inputs.validation, optimized)
    return Step("generate", stages.GENERATE, request)


def _dataset_step(spec: DistillationSpec, inputs: Inputs, generated: GenerateRecordsResult | None) -> Step:
    if spec.dataset.teacher is not None and generated is None:
        return Step("dataset", stages.DATASET, None, "generate")
    return Step("dataset", stages.DATASET, requests.build_dataset(spec, inputs, generated))


def _teacher_step(
    spec: DistillationSpec,
    dataset: BuildDatasetResult | None,
    generated: GenerateRecordsResult | None,
    optimized: OptimizeResult | None,
) -> Step | None:
    """The teacher on the held-out rows, if the spec wants it; it needs no student."""
    if not spec.evaluation.teacher:
        return None
    if dataset is None:
        return Step("evaluate-teacher", stages.EVALUATE, None, "dataset")
    return Step("evaluate-teacher", stages.EVALUATE, requests.evaluate_teacher(spec, dataset, generated, optimized))


def compares_with_base(spec: DistillationSpec) -> bool:
    """True if a gate needs the base model's evaluation."""
    return bound(spec.evaluation.gates.min_margin_over_base) is not None


def _export_steps(
    spec: DistillationSpec,
    base: PrepareBaseResult | None,
    dataset: BuildDatasetResult | None,
    training: TrainResult | None,
) -> tuple[Step, Step]:
    """The student as GGUF, and the base model, which a gate may compare it with."""
    if base is None or dataset is None or training is None:
        return Step("export", stages.EXPORT, None, "train"), Step("export-base", stages.EXPORT, None, "train")
    return (
        Step("export", stages.EXPORT, requests.export(spec, base, dataset, training)),
        Step("export-base", stages.EXPORT, requests.export_base(spec, base)),
    )


def _student_optimization(
    spec: DistillationSpec,
    inputs: Inputs,
    dataset: BuildDatasetResult | None,
    export: ExportResult | None,
    paid: Sequence[GenerateRecordsResult | EvaluateResult],
    *,
    is_settled: bool,
) -> Step | None:
    """The search for the student's prompt, if the spec wants it; on a budget not before all else `is_settled`."""
    wanted = spec.optimization
    if wanted is None or spec.optimizes_teacher:
        return None
    if export is None or dataset is None:
        return Step("optimize", stages.OPTIMIZE, None, "export")
    on_budget = spec.budget.max_cost_usd is not None and optimization_requests.asks_paid_models(wanted)
    if on_budget and not is_settled:
        return Step("optimize", stages.OPTIMIZE, None, "evaluate-teacher")
    request = optimization_requests.for_student(spec, wanted, inputs, dataset, export.model, paid)
    return Step("optimize", stages.OPTIMIZE, request, serves=export.model)


def _evaluations(
    spec: DistillationSpec,
    dataset: BuildDatasetResult | None,
    models: _Models,
    teacher_step: Step | None,
    prompt_step: Step | None,
    manifests: ManifestReader,
) -> Iterator[Step]:
    gated, *others = spec.evaluation.constraints
    export = models.student
    base_step = _base_step(spec, dataset, models.base)
    if base_step is not None:
        yield base_step
    if prompt_step is not None:
        yield prompt_step
    teacher = _result(teacher_step, EvaluateResult, manifests)
    baseline = _result(base_step, EvaluateResult, manifests)
    optimized = _result(prompt_step, OptimizeResult, manifests)
    program = None if optimized is None else optimized.program
    missing = ["evaluate-teacher"] if teacher_step and teacher is None else []
    missing += ["evaluate-base"] if base_step and baseline is None else []
    missing += ["optimize"] if prompt_step and optimized is None else []
    if export is None or dataset is None:
        yield Step("evaluate", stages.EVALUATE, None, "export")
    elif missing:
        yield Step("evaluate", stages.EVALUATE, None, " and ".join(missing))
    else:
        request = requests.evaluate(
            spec, export.model, dataset, gated, baseline=baseline, gated=True, teacher_result=teacher, program=program
        )
        yield Step("evaluate", stages.EVALUATE, request, serves=export.model)
    if prompt_step is not None:
        yield _ungated_step("evaluate-unoptimized", spec, dataset, export, gated, None)
    for constraint in others:
        name = _ungated_name(constraint)
        if prompt_step is not None and program is None:
            yield Step(name, stages.EVALUATE, None, "optimize")
        else:
            yield _ungated_step(name, spec, dataset, export, constraint, program)


def _ungated_step(
    name: str,
    spec: DistillationSpec,
    dataset: BuildDatasetResult | None,
    export: ExportResult | None,
    constraint: str,
    program: Artifact | None,
) -> Step:
    """The student once more, for people."""
    if export is None or dataset is None:
        return Step(name, stages.EVALUATE, None, "export")
    request = requests.evaluate(spec, export.model, dataset, constraint, baseline=None, gated=False, program=program)
    return Step(name, stages.EVALUATE, request, serves=export.model)


def _base_step(spec: DistillationSpec, dataset: BuildDatasetResult | None, export: ExportResult | None) -> Step | None:
    """The base model under the student's constraint, if a gate compares with it."""
    if not compares_with_base(spec):
        return None
    if export is None or dataset is None:
        return Step("evaluate-base", stages.EVALUATE, None, "export-base")
    constraint = spec.evaluation.constraints[0]
    request = requests.evaluate(spec, export.model, dataset, constraint, baseline=None, gated=False)
    return Step("evaluate-base", stages.EVALUATE, request, serves=export.model)


def _ungated_name(constraint: str) -> str:
    return "evaluate-unconstrained" if constraint == "None" else "evaluate-constrained"


def _result(step: Step | None, result_type: type[ResultT], manifests: ManifestReader) -> ResultT | None:
    """What that step made; None where there is no such step, and while it is not done."""
    if step is None or step.request is None:
        return None
    definition = step.definition
    manifest = manifests(definition.name, request_key(definition.name, definition.logic_version, step.request))
    return None if manifest is None else unpack_as(manifest.result, result_type)
