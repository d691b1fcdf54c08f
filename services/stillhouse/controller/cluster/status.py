"""The status of a Distillation, which `kubectl get` prints, from the plan and what was seen. Pure.

Its shape is `stillhouse.spec.status`; here is what goes in. A figure is a string, as Kubernetes wants decimals.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from stillhouse.controller.cluster.conditions import MESSAGE_CHARACTERS, Condition, conditions, serving_condition
from stillhouse.controller.cluster.timestamps import timestamp
from stillhouse.controller.cluster.view import View
from stillhouse.controller.plan import PlannedStep, StepState
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.common_pb2 import Progress
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetResult
from stillhouse.v1.evaluator_pb2 import EvaluateResult
from stillhouse.v1.exporter_pb2 import ExportResult
from stillhouse.v1.optimizer_pb2 import OptimizeResult
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsResult
from stillhouse.v1.trainer_pb2 import TrainResult

Json = dict[str, Any]

_FIGURES = 32
_WORD = 64
_LARGEST = 1e12


def status_of(view: View, previous: Json, *, now: datetime) -> Json:
    """The whole status; times of what did not change are kept from `previous`."""
    stamp = timestamp(now)
    before = {step["name"]: step for step in previous.get("steps", [])}
    status: Json = {
        "observedGeneration": view.generation,
        "stage": view.stage,
        "message": view.message[:MESSAGE_CHARACTERS],
        "steps": [_step(step, view, before.get(step.name, {}), stamp) for step in view.plan.steps],
        "conditions": [condition.entry(view.generation, previous, stamp) for condition in conditions(view)],
    }
    return status | {name: value for name, value in _figures(view).items() if value not in ("", None, {})}


def invalid_status(reason: str, message: str, generation: int, previous: Json, *, now: datetime) -> Json:
    """Of a Distillation that can't be carried out as it is; what is known of its steps stays."""
    stamp = timestamp(now)
    succeeded = Condition("Succeeded", "False", reason, message)
    others = [old for old in previous.get("conditions", []) if old["type"] != "Succeeded"]
    return {
        **previous,
        "observedGeneration": generation,
        "stage": "Invalid",
        "message": message[:MESSAGE_CHARACTERS],
        "conditions": [*others, succeeded.entry(generation, previous, stamp)],
    }


def _step(step: PlannedStep, view: View, before: Json, stamp: str) -> Json:
    job = view.job(step)
    state = job.state if step.state is StepState.RUNNING and job.state else step.state.value
    same = before if before.get("key", "") == step.key else {}
    entry: Json = {
        "name": step.name,
        "stage": step.stage,
        "state": state,
        "key": step.key,
        "job": job.name or same.get("job", ""),
        "message": (job.note or (f"after {step.message}" if step.state is StepState.WAITING else step.message))[
            :MESSAGE_CHARACTERS
        ],
    }
    starts = job.name and step.state in (StepState.RUNNING, StepState.FAILED)
    if starts or (same.get("startTime") and step.state in (StepState.RUNNING, StepState.DONE, StepState.FAILED)):
        entry["startTime"] = same.get("startTime", stamp)  # of one that was done before it was seen nothing is known
    if step.state is StepState.DONE and step.manifest is not None:
        entry["finishTime"] = timestamp(step.manifest.create_time.ToDatetime(UTC))
    if step.state is StepState.FAILED:
        entry["finishTime"] = same.get("finishTime", stamp)
    if step.name in view.progress and step.state is StepState.RUNNING:
        entry["progress"] = _progress(view.progress[step.name])
    return {name: value for name, value in entry.items() if value != ""}


def _progress(progress: Progress) -> Json:
    return {
        "done": max(0, progress.done),
        "total": max(0, progress.total),
        "unit": progress.unit[:_WORD],
        "message": progress.message[:MESSAGE_CHARACTERS],
        "etaSeconds": round(eta) if 0 <= (eta := progress.eta_seconds) < _LARGEST else 0,
        "figures": {
            name[:_WORD]: f"{value:.6g}"
            for name, value in sorted(progress.figures.items())[:_FIGURES]
            if math.isfinite(value)
        },
    }


def _decimal(value: float, digits: int) -> str:
    """As the schema has it; empty for what is no number, which would have the whole status refused."""
    return f"{round(value, digits) + 0.0:.{digits}f}" if abs(value) < _LARGEST else ""


def _figures(view: View) -> Json:
    """Records, score, gap, cost, artifacts: from the manifests, and the records as they come."""
    steps = {step.name: step for step in view.plan.steps}
    dataset = steps["dataset"].result(BuildDatasetResult)
    generated = steps["generate"].result(GenerateRecordsResult) if "generate" in steps else None
    optimized = steps["optimize"].result(OptimizeResult) if "optimize" in steps else None
    taught = steps["evaluate-teacher"].result(EvaluateResult) if "evaluate-teacher" in steps else None
    evaluation = steps["evaluate"].result(EvaluateResult)
    export = steps["export"].result(ExportResult)
    training = steps["train"].result(TrainResult)
    adapter = (
        next((file for file in training.adapter.files if file.name.endswith(".safetensors")), None)
        if training
        else None
    )
    paid = [made for made in (generated, optimized, taught) if made is not None]
    artifacts = {
        "dataset": dataset and dataset.train,
        "adapter": adapter,
        "model": export and export.model,
        "program": optimized and optimized.program,
        "evaluation": evaluation and evaluation.summary,
    }
    return {
        "records": _records(dataset, generated, view.progress.get("generate")),
        "score": _decimal(evaluation.evaluation.scores.mean, 3) if evaluation else "",
        "gap": _decimal(evaluation.gap, 3) if evaluation else "",
        "serving": _serving_word(serving_condition(view)),
        "costUsd": _decimal(sum(made.cost_usd for made in paid), 4) if paid else "",
        "artifacts": {name: _uri(view.store_uri, made) for name, made in artifacts.items() if made},
        "modelSha256": export.model.sha256 if export else "",
        "validationSha256": view.validation_sha256,
    }


def _serving_word(serving: Condition) -> str:
    if serving.status == "True":
        return "yes"
    return serving.reason if serving.reason != "NoModel" else "no"


def _records(
    dataset: BuildDatasetResult | None, generated: GenerateRecordsResult | None, progress: Progress | None
) -> int | None:
    if dataset is not None:
        return dataset.train_records + dataset.tuning_records + dataset.validation_records
    if generated is not None:
        return generated.record_count
    return progress.done if progress is not None else None


def _uri(store_uri: str, artifact: Artifact) -> str:
    return f"{store_uri}/blobs/sha256/{artifact.sha256}"
