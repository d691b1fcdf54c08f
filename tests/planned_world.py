"""A world of manifests and observations for tests of plan(): what a store and a backend would show."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from stillhouse.controller.plan import Observation, Plan, Start, plan
from stillhouse.controller.requests import Inputs
from stillhouse.spec.loading import parse_distillation
from stillhouse.spec.models import DistillationSpec
from stillhouse.v1.artifact_pb2 import Artifact, ArtifactSet, Manifest
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetResult
from stillhouse.v1.evaluator_pb2 import EvaluateResult, Evaluation, GateResult
from stillhouse.v1.exporter_pb2 import ExportResult
from stillhouse.v1.optimizer_pb2 import OptimizeResult
from stillhouse.v1.record_pb2 import ScoreStatistics
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsResult
from stillhouse.v1.trainer_pb2 import PrepareBaseResult, TrainResult

INPUTS = Inputs((Artifact(name="import.jsonl", sha256="1" * 64),))
ALL_STEPS = ["dataset", "base", "train", "export", "export-base", "evaluate-base", "evaluate"]


def spec_of(**changes: Any) -> DistillationSpec:
    document = {
        "apiVersion": "stillhouse.dev/v1alpha1",
        "kind": "Distillation",
        "metadata": {"name": "x"},
        "spec": {"role": "product_owner", "dataset": {"imports": [{"uri": "rows.jsonl"}]}, **changes},
    }
    return parse_distillation(document, source="test").spec


class World:
    """Manifests and observations, as a store and a backend would show them."""

    def __init__(self, spec: DistillationSpec, inputs: Inputs = INPUTS) -> None:
        self.spec = spec
        self.inputs = inputs
        self.manifests: dict[tuple[str, str], Manifest] = {}
        self.observations: dict[str, Observation] = {}

    def plan(self, *, now: float = 0.0, capacity: int = 1) -> Plan:
        def read(stage: str, key: str) -> Manifest | None:
            return self.manifests.get((stage, key))

        return plan(self.spec, self.inputs, read, self.observations, now=now, capacity=capacity)

    def finish(self, step_name: str, *, passed: bool = True, result: Message | None = None) -> None:
        step = self.plan().step(step_name)
        manifest = Manifest(stage=step.stage, key=step.key)
        manifest.result.Pack(result or result_of(step_name, passed=passed))
        self.manifests[step.stage, step.key] = manifest


def blob(digit: str) -> Artifact:
    return Artifact(name=f"{digit}.bin", sha256=digit * 64)


def result_of(step_name: str, *, passed: bool) -> Message:
    match step_name:
        case "generate":
            return GenerateRecordsResult(records=blob("a"), record_count=50, cost_usd=0.4)
        case "evaluate-teacher":
            return EvaluateResult(
                passed=True, summary=blob("b"), evaluation=Evaluation(scores=ScoreStatistics(mean=0.95)), cost_usd=0.125
            )
        case "optimize":
            return OptimizeResult(program=blob("c"), baseline_score=0.7, score=0.8, cost_usd=0.25)
        case "dataset":
            return BuildDatasetResult(
                train=blob("2"), tuning=blob("3"), validation=blob("4"), teacher_scores=ScoreStatistics(mean=0.9)
            )
        case "base":
            return PrepareBaseResult(base=ArtifactSet(files=[blob("5")]), license="apache-2.0")
        case "train":
            return TrainResult(adapter=ArtifactSet(files=[blob("6")]))
        case "export" | "export-base":
            return ExportResult(model=blob("7" if step_name == "export" else "8"))
        case _:
            return EvaluateResult(passed=passed, summary=blob("9"), gates=[GateResult(passed=passed)])


def started(made: Plan) -> list[str]:
    return [action.step.name for action in made.actions if isinstance(action, Start)]
