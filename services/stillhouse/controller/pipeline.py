"""The steps of a Distillation in order, each with its request once what it needs is made. Pure; called by plan()."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from stillhouse import stages
from stillhouse.artifacts.digests import request_key
from stillhouse.controller import requests
from stillhouse.controller.requests import Inputs
from stillhouse.spec.models import DistillationSpec
from stillhouse.stages import StageDefinition
from stillhouse.v1.artifact_pb2 import Artifact, Manifest
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetResult
from stillhouse.v1.evaluator_pb2 import EvaluateResult
from stillhouse.v1.exporter_pb2 import ExportResult
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
    """All steps, cheapest checks first: data before the base, the base before training.

    Every evaluation has its own step: `evaluate` holds the gates, `evaluate-base` is the base model under the same
    constraint, `evaluate-unconstrained` (or `-constrained`) is the student under the spec's second constraint.
    """
    dataset_step = Step("dataset", stages.DATASET, requests.build_dataset(spec, inputs))
    base_step = Step("base", stages.BASE, requests.prepare_base(spec, inputs))
    yield dataset_step
    yield base_step
    dataset = _result(dataset_step, BuildDatasetResult, manifests)
    base = _result(base_step, PrepareBaseResult, manifests)

    train_step = Step("train", stages.TRAIN, None, "dataset and base")
    if dataset is not None and base is not None:
        train_step = Step("train", stages.TRAIN, requests.train(spec, base, dataset))
    yield train_step
    training = _result(train_step, TrainResult, manifests)
    if training is None or dataset is None or base is None:
        yield from _waiting(spec)
        return
    export_step = Step("export", stages.EXPORT, requests.export(spec, base, dataset, training))
    base_export_step = Step("export-base", stages.EXPORT, requests.export_base(spec, base))
    yield export_step
    export = _result(export_step, ExportResult, manifests)
    base_export = None
    if compares_with_base(spec):
        yield base_export_step
        base_export = _result(base_export_step, ExportResult, manifests)
    yield from _evaluations(spec, dataset, export, base_export, manifests)


def compares_with_base(spec: DistillationSpec) -> bool:
    """True if a gate needs the base model's evaluation."""
    return spec.evaluation.gates.min_margin_over_base is not None


def _waiting(spec: DistillationSpec) -> Iterator[Step]:
    """The steps behind the training, while it is not done."""
    yield Step("export", stages.EXPORT, None, "train")
    if compares_with_base(spec):
        yield Step("export-base", stages.EXPORT, None, "train")
        yield Step("evaluate-base", stages.EVALUATE, None, "export-base")
    yield Step("evaluate", stages.EVALUATE, None, "export")
    for constraint in spec.evaluation.constraints[1:]:
        yield Step(_ungated_name(constraint), stages.EVALUATE, None, "export")


def _evaluations(
    spec: DistillationSpec,
    dataset: BuildDatasetResult,
    export: ExportResult | None,
    base_export: ExportResult | None,
    manifests: ManifestReader,
) -> Iterator[Step]:
    gated, *others = spec.evaluation.constraints
    baseline: EvaluateResult | None = None
    if compares_with_base(spec):
        base_step = Step("evaluate-base", stages.EVALUATE, None, "export-base")
        if base_export is not None:
            request = requests.evaluate(spec, base_export.model, dataset, gated, baseline=None, gated=False)
            base_step = Step("evaluate-base", stages.EVALUATE, request, serves=base_export.model)
        yield base_step
        baseline = _result(base_step, EvaluateResult, manifests)
    if export is None or (baseline is None and compares_with_base(spec)):
        yield Step("evaluate", stages.EVALUATE, None, "export" if export is None else "evaluate-base")
    else:
        request = requests.evaluate(spec, export.model, dataset, gated, baseline=baseline, gated=True)
        yield Step("evaluate", stages.EVALUATE, request, serves=export.model)
    for constraint in others:
        name = _ungated_name(constraint)
        if export is None:
            yield Step(name, stages.EVALUATE, None, "export")
            continue
        request = requests.evaluate(spec, export.model, dataset, constraint, baseline=None, gated=False)
        yield Step(name, stages.EVALUATE, request, serves=export.model)


def _ungated_name(constraint: str) -> str:
    return "evaluate-unconstrained" if constraint == "None" else "evaluate-constrained"


def _result(step: Step, result_type: type[ResultT], manifests: ManifestReader) -> ResultT | None:
    """What that step made; None while it is not done."""
    if step.request is None:
        return None
    definition = step.definition
    manifest = manifests(definition.name, request_key(definition.name, definition.logic_version, step.request))
    if manifest is None:
        return None
    result = result_type()
    manifest.result.Unpack(result)
    return result
