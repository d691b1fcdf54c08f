"""The status of a Distillation, which `kubectl get` prints, from the plan and what was seen. Pure.

Its shape is `stillhouse.spec.status`; here is what goes in. A figure is a string, as Kubernetes wants decimals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from google.protobuf.message import Message

from stillhouse.controller.plan import Outcome, Plan, PlannedStep, StepState, gates_passed
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.common_pb2 import Progress
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetResult
from stillhouse.v1.evaluator_pb2 import EvaluateResult
from stillhouse.v1.exporter_pb2 import ExportResult
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsResult
from stillhouse.v1.trainer_pb2 import TrainResult

Json = dict[str, Any]
ResultT = TypeVar("ResultT", bound=Message)

MESSAGE_CHARACTERS = 1024
_FIGURES = 32
_WORD = 64
_LARGEST = 1e12


@dataclass(frozen=True)
class Job:
    """A step's Job, for people."""

    name: str = ""
    state: str = ""
    note: str = ""


@dataclass(frozen=True)
class Serving:
    """What is served under the Distillation's student's name."""

    is_ours: bool
    is_ready: bool
    reason: str
    message: str


@dataclass(frozen=True)
class View:
    """Everything that a status says."""

    plan: Plan
    generation: int
    store_uri: str
    suspended: bool
    validation_sha256: str = ""
    jobs: Mapping[str, Job] = field(default_factory=dict)
    """By step name."""
    progress: Mapping[str, Progress] = field(default_factory=dict)
    """By step name."""
    serving: Serving | None = None


def status_of(view: View, previous: Json, *, now: datetime) -> Json:
    """The whole status; times of what did not change are kept from `previous`."""
    stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    before = {step["name"]: step for step in previous.get("steps", [])}
    status: Json = {
        "observedGeneration": view.generation,
        "stage": _stage(view),
        "message": _message(view)[:MESSAGE_CHARACTERS],
        "steps": [_step(step, view, before.get(step.name, {}), stamp) for step in view.plan.steps],
        "conditions": [_condition(entry, view.generation, previous, stamp) for entry in conditions(view)],
    }
    return status | {name: value for name, value in _figures(view).items() if value not in ("", None, {})}


def invalid_status(reason: str, message: str, generation: int, previous: Json, *, now: datetime) -> Json:
    """Of a Distillation that can't be carried out as it is; what is known of its steps stays."""
    stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    entry = Condition("Succeeded", "False", reason, message)
    others = [old for old in previous.get("conditions", []) if old["type"] != "Succeeded"]
    return {
        **previous,
        "observedGeneration": generation,
        "stage": "Invalid",
        "message": message[:MESSAGE_CHARACTERS],
        "conditions": [*others, _condition(entry, generation, previous, stamp)],
    }


@dataclass(frozen=True)
class Condition:
    """One condition; status is True, False or Unknown."""

    type: str
    status: str
    reason: str
    message: str


def conditions(view: View) -> list[Condition]:
    """All of them, always, in the order of the work."""
    steps = {step.name: step for step in view.plan.steps}
    evaluations = [step for step in view.plan.steps if step.stage == "evaluate"]
    return [
        _of_step("DatasetReady", steps["dataset"], view),
        Condition("Optimized", "False", "NotRequested", "no optimization is asked for"),
        _of_step("Trained", steps["train"], view),
        _of_step("Exported", steps["export"], view),
        _evaluated(evaluations, view),
        _serving(view),
        _succeeded(view),
        Condition("Suspended", "True", "Requested", "spec.suspend is true")
        if view.suspended
        else Condition("Suspended", "False", "NotRequested", ""),
    ]


def _of_step(name: str, step: PlannedStep, view: View) -> Condition:
    match step.state:
        case StepState.DONE:
            return Condition(name, "True", "Done", "")
        case StepState.FAILED:
            return Condition(name, "False", "Failed", step.message)
        case StepState.WAITING:
            return Condition(name, "False", "Waiting", f"after {step.message}")
        case _:
            job = view.jobs.get(step.name, Job())
            return Condition(name, "False", (job.state or step.state.value).capitalize(), job.note or step.message)


def _evaluated(steps: Sequence[PlannedStep], view: View) -> Condition:
    for step in steps:
        if step.state is not StepState.DONE:
            return _of_step("Evaluated", step, view)
    gated = next(step for step in steps if step.name == "evaluate")
    return Condition("Evaluated", "True", "GatesPassed" if gates_passed(gated) else "GatesFailed", _gates(gated))


def _serving(view: View) -> Condition:
    serving = view.serving
    if serving is None and view.suspended:
        return Condition("Serving", "Unknown", "Suspended", "spec.suspend is true: what is served stays as it is")
    if serving is None:
        return Condition("Serving", "False", "NoModel", "there is no evaluated model yet")
    if not serving.is_ours:
        return Condition("Serving", "False", serving.reason, serving.message)
    if not serving.is_ready:
        return Condition("Serving", "False", "RollingOut", serving.message)
    return Condition("Serving", "True", serving.reason, serving.message)


def _succeeded(view: View) -> Condition:
    match view.plan.outcome:
        case Outcome.SUCCEEDED:
            return Condition("Succeeded", "True", "Succeeded", "every stage is done and every gate passed")
        case Outcome.GATES_FAILED:
            return Condition("Succeeded", "False", "GatesFailed", _message(view))
        case Outcome.FAILED:
            return Condition("Succeeded", "False", "Failed", _message(view))
        case Outcome.SUSPENDED:
            return Condition("Succeeded", "Unknown", "Suspended", "spec.suspend is true")
        case None:
            return Condition("Succeeded", "Unknown", "Running", "")


def _condition(entry: Condition, generation: int, previous: Json, stamp: str) -> Json:
    old = next((old for old in previous.get("conditions", []) if old["type"] == entry.type), None) or {}
    return {
        "type": entry.type,
        "status": entry.status,
        "reason": entry.reason,
        "message": entry.message[:MESSAGE_CHARACTERS],
        "observedGeneration": generation,
        "lastTransitionTime": old.get("lastTransitionTime", stamp) if old.get("status") == entry.status else stamp,
    }


def _stage(view: View) -> str:
    """One word for the column: what runs, or how it ended."""
    match view.plan.outcome:
        case Outcome.SUCCEEDED:
            return "Succeeded"
        case Outcome.GATES_FAILED:
            return "GatesFailed"
        case Outcome.FAILED:
            return "Failed"
        case Outcome.SUSPENDED:
            return "Suspended"
        case None:
            step = _current(view.plan)
            if step is None:
                return "Pending"
            return "queued" if view.jobs.get(step.name, Job()).state == "queued" else step.name


def _current(plan: Plan) -> PlannedStep | None:
    """What a person asks after: what runs, else what is about to."""
    for wanted in (StepState.RUNNING, StepState.RETRYING, StepState.READY, StepState.FAILED):
        for step in plan.steps:
            if step.state is wanted:
                return step
    return None


def _message(view: View) -> str:
    match view.plan.outcome:
        case Outcome.GATES_FAILED:
            return _gates(next(step for step in view.plan.steps if not gates_passed(step)))
        case Outcome.FAILED:
            failed = next(step for step in view.plan.steps if step.state is StepState.FAILED)
            return f"{failed.name}: {failed.message}"
        case Outcome.SUCCEEDED:
            return _gates(view.plan.step("evaluate"))
        case _:
            step = _current(view.plan)
            if step is None:
                return ""
            job, progress = view.jobs.get(step.name, Job()), view.progress.get(step.name)
            said = job.note or (_progress_words(progress) if progress else step.message)
            return f"{step.name}: {said}" if said else step.name


def _gates(step: PlannedStep) -> str:
    result = _result(step, EvaluateResult)
    if result is None or not result.gates:
        return ""
    failed = [gate.reason for gate in result.gates if not gate.passed]
    return "; ".join(failed) if failed else f"all {len(result.gates)} gates passed"


def _progress_words(progress: Progress) -> str:
    count = f"{progress.done}/{progress.total} {progress.unit}" if progress.total else ""
    return " ".join(part for part in (progress.message, count) if part)


def _step(step: PlannedStep, view: View, before: Json, stamp: str) -> Json:
    job = view.jobs.get(step.name, Job())
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
        made = step.manifest.create_time.ToDatetime(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        entry["finishTime"] = made
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
    dataset = _result(steps["dataset"], BuildDatasetResult)
    generated = _result(steps["generate"], GenerateRecordsResult) if "generate" in steps else None
    evaluation = _result(steps["evaluate"], EvaluateResult) if "evaluate" in steps else None
    export = _result(steps["export"], ExportResult)
    training = _result(steps["train"], TrainResult)
    adapter = (
        next((file for file in training.adapter.files if file.name.endswith(".safetensors")), None)
        if training
        else None
    )
    artifacts = {
        "dataset": dataset and dataset.train,
        "adapter": adapter,
        "model": export and export.model,
        "evaluation": evaluation and evaluation.summary,
    }
    serving = _serving(view)
    return {
        "records": _records(dataset, generated, view.progress.get("generate")),
        "score": _decimal(evaluation.evaluation.scores.mean, 3) if evaluation else "",
        "gap": _decimal(evaluation.gap, 3) if evaluation else "",
        "serving": _serving_word(serving),
        "costUsd": _decimal(generated.cost_usd, 4) if generated else "",
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


def _result(step: PlannedStep, kind: type[ResultT]) -> ResultT | None:
    if step.manifest is None:
        return None
    result = kind()
    step.manifest.result.Unpack(result)
    return result
