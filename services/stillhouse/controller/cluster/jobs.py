"""A planned step as a Kubernetes Job. Pure; called by the backend.

One Job a key and namespace: Distillations that want the same thing own it together. It must not know how Jobs end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stillhouse.controller.cluster.pods import (
    STUDENT_PORT,
    container,
    environment,
    pod_template,
    resources_of,
    student_container,
)
from stillhouse.controller.cluster.settings import Settings
from stillhouse.controller.plan import MAX_ATTEMPTS, PlannedStep
from stillhouse.controller.teacher_requests import first_asked
from stillhouse.errors import EXIT_CHECK_FAILED, EXIT_PERMANENT, EXIT_USAGE, InvalidArgument
from stillhouse.spec.models import DistillationSpec
from stillhouse.v1.evaluator_pb2 import EvaluateRequest
from stillhouse.v1.optimizer_pb2 import OptimizeRequest
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest
from stillhouse.v1.teacher_pb2 import TeacherModel

Json = dict[str, Any]

STAGE_LABEL = "stillhouse.dev/stage"
KEY_LABEL = "stillhouse.dev/key"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
MANAGED = {"app.kubernetes.io/name": "stillhouse", "app.kubernetes.io/managed-by": "stillhouse-controller"}
SELECTOR = ",".join(f"{name}={value}" for name, value in MANAGED.items()) + f",{STAGE_LABEL}"
"""Labels of all Jobs and their pods."""
KEY_ANNOTATION = "stillhouse.dev/key"
TEMPLATE_ANNOTATION = "stillhouse.dev/template"
ATTEMPT_ANNOTATION = "stillhouse.dev/attempt"
STAGE_CONTAINER = "stage"
KEY_DIGITS = 20

_SPARED_SECONDS = 3600
_GRACE_SECONDS = 120
_DAY = 86_400
_DEADLINE_SECONDS = {
    "generate": 7 * _DAY,
    "train": 7 * _DAY,
    "dataset": _DAY,
    "optimize": 7 * _DAY,
    "evaluate": 2 * _DAY,
}
# Not tried again: a permanent error, wrong usage, and what a shell or an interpreter that can't start exits with.
_FAIL_AT_ONCE = [EXIT_CHECK_FAILED, EXIT_USAGE, EXIT_PERMANENT, 126, 127]


@dataclass(frozen=True)
class Owner:
    """A Distillation, as Jobs and students refer to it."""

    name: str
    uid: str

    def reference(self) -> Json:
        """An entry of ownerReferences."""
        return {
            "apiVersion": "stillhouse.dev/v1alpha1",
            "kind": "Distillation",
            "name": self.name,
            "uid": self.uid,
        }


def job_name(stage: str, key: str) -> str:
    """Of the Job of that key, in every namespace."""
    return f"{stage}-{key[:KEY_DIGITS]}"


def job_for(
    step: PlannedStep,
    spec: DistillationSpec,
    settings: Settings,
    *,
    owner: Owner,
    store_uri: str,
    request_uri: str,
    attempt: int = 1,
    trace_parent: str = "",
) -> Json:
    """The Job that executes the request at `request_uri`.

    Raises InvalidArgument for a podPatch that can't be read.
    """
    resources = resources_of(step.stage, spec.resources, settings)
    labels = MANAGED | {
        "app.kubernetes.io/component": step.service.replace("_", "-"),
        STAGE_LABEL: step.stage,
        KEY_LABEL: step.key[:KEY_DIGITS],
    }
    template = pod_template(
        [_stage_container(step, settings, spec, request_uri, trace_parent)],
        labels=labels,
        settings=settings,
        resources=resources,
        account=settings.service_accounts.teacher if asks_teacher(step) else settings.service_accounts.stage,
        sidecars=_sidecars(step, spec, settings, store_uri),
        volumes=_volumes(step, settings),
        grace_seconds=_GRACE_SECONDS,
        restart_policy="Never",
    )
    job_spec: Json = {
        "backoffLimit": MAX_ATTEMPTS - 1,
        "activeDeadlineSeconds": resources.deadline_seconds or _DEADLINE_SECONDS.get(step.stage, _DAY),
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": STAGE_CONTAINER, "operator": "In", "values": _FAIL_AT_ONCE},
                },
            ]
        },
        "template": template,
    }
    if spec.queue:
        labels |= {QUEUE_LABEL: spec.queue}
        job_spec["suspend"] = True  # until Kueue admits it
    return {
        "metadata": {
            "name": job_name(step.stage, step.key),
            "labels": labels,
            "annotations": {
                KEY_ANNOTATION: step.key,
                TEMPLATE_ANNOTATION: template_digest(job_spec | ({"queue": spec.queue} if spec.queue else {})),
                ATTEMPT_ANNOTATION: str(attempt),
            },
            "ownerReferences": [owner.reference()],
        },
        "spec": job_spec,
    }


def ttl_patch() -> Json:
    """What is said of a finished Job once its manifest was read: it may go."""
    return {"spec": {"ttlSecondsAfterFinished": _SPARED_SECONDS}}


def check(spec: DistillationSpec) -> None:
    """Raises InvalidArgument, naming the path, for what no pod could do: llama.cpp and DSPy lie in different images."""
    wanted = spec.optimization
    if wanted is None:
        return
    models = {"optimization.promptModel": wanted.prompt_model, "optimization.demoModel": wanted.demo_model}
    if spec.optimizes_teacher:
        models["dataset.teacher"] = first_asked(spec)
    for place, model in models.items():
        if model is not None and model.provider == "gguf":
            raise InvalidArgument(
                f"spec.{place}: on a cluster an optimizer asks no model in a file: serve it, and name provider student "
                "with its HOST:PORT",
                field=f"spec.{place}",
            )


def asks_teacher(step: PlannedStep) -> bool:
    """Whether the step's pod needs a teacher's credentials."""
    return bool(_teachers(step))


def _teachers(step: PlannedStep) -> list[TeacherModel]:
    """The models that the step pays for."""
    match step.request:
        case GenerateRecordsRequest() as request:
            return [stage.teacher for stage in request.stages if stage.HasField("teacher")]
        case EvaluateRequest() as request if request.HasField("teacher"):
            return [request.teacher]
        case OptimizeRequest() as request:
            return [model for _, model in request.ListFields() if isinstance(model, TeacherModel)]
        case _:
            return []


def template_digest(job_spec: Mapping[str, Any]) -> str:
    """Of what a Job would run: a failed Job of another digest is made anew."""
    stable = json.dumps(_without_trace(job_spec), sort_keys=True)
    return hashlib.sha256(stable.encode()).hexdigest()[:16]


def _without_trace(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_trace(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [
            _without_trace(entry) for entry in value if not (isinstance(entry, dict) and entry.get("name") == _TRACE)
        ]
    return value


_TRACE = "TRACEPARENT"


def _stage_container(
    step: PlannedStep, settings: Settings, spec: DistillationSpec, request_uri: str, trace_parent: str
) -> Json:
    resources = resources_of(step.stage, spec.resources, settings)
    made = container(STAGE_CONTAINER, step.service, ["run", "--request", request_uri], settings, resources)
    if any(teacher.provider == "gguf" for teacher in _teachers(step)):
        made["image"] = settings.images.llama  # a teacher in a file takes llama.cpp beside the stage
    if asks_teacher(step):
        endpoint = {"name": "STILLHOUSE_EMULATOR_ENDPOINT", "value": settings.emulator_endpoint}
        made["env"] = environment(made["env"], settings.teacher_env, [endpoint] if settings.emulator_endpoint else [])
        made["envFrom"] += settings.teacher_env_from
        made["volumeMounts"] += [
            {"name": volume.name, "mountPath": volume.mount_path, "readOnly": True}
            for volume in settings.teacher_volumes
        ]
    if trace_parent:
        made["env"] = environment(made["env"], [{"name": _TRACE, "value": trace_parent}])
    return made


def _sidecars(step: PlannedStep, spec: DistillationSpec, settings: Settings, store_uri: str) -> list[Json]:
    """The model that is evaluated is served beside the evaluation, on the pod's loopback."""
    if step.serves is None:
        return []
    return [
        student_container(
            step.serves.sha256,
            store_uri,
            slots=spec.serve.slots,
            context_tokens=spec.serve.context_tokens,
            settings=settings,
            resources=resources_of("serve", spec.resources, settings),
        )
    ]


def student_address(step: PlannedStep) -> str:
    """Where the step's stage finds the model that is served beside it."""
    return f"127.0.0.1:{STUDENT_PORT}" if step.serves is not None else ""


def _volumes(step: PlannedStep, settings: Settings) -> list[Json]:
    if not asks_teacher(step):
        return []
    return [{"name": volume.name, "secret": {"secretName": volume.secret_name}} for volume in settings.teacher_volumes]
