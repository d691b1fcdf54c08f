"""Jobs and pods as an API server shows them, for tests of what is seen in them."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

from stillhouse.controller.cluster.observing import Seen, see

Json = dict[str, Any]
ENDED = "2030-01-31T12:00:00Z"
ENDED_AT = datetime(2030, 1, 31, 12, tzinfo=UTC).timestamp()
JOB: Json = {
    "metadata": {
        "name": "evaluate-0123456789",
        "namespace": "team",
        "uid": "job-1",
        "labels": {"stillhouse.dev/stage": "evaluate"},
        "annotations": {
            "stillhouse.dev/key": "0123456789" * 6,
            "stillhouse.dev/template": "abc",
            "stillhouse.dev/attempt": "2",
        },
        "ownerReferences": [{"kind": "Distillation", "name": "first", "uid": "uid-1"}],
    },
    "spec": {"suspend": False, "activeDeadlineSeconds": 60, "backoffLimit": 4},
    "status": {"startTime": "2030-01-31T11:00:00Z", "active": 1, "ready": 0},
}
POD: Json = {
    "metadata": {
        "name": "evaluate-0123456789-x7k2p",
        "creationTimestamp": "2030-01-31T11:00:00Z",
        "labels": {"stillhouse.dev/stage": "evaluate"},
        "ownerReferences": [{"kind": "Job", "name": "evaluate-0123456789", "uid": "job-1", "controller": True}],
    },
    "spec": {
        "containers": [{"name": "stage", "resources": {"limits": {"memory": "1Gi"}}}],
        "initContainers": [{"name": "student", "restartPolicy": "Always", "resources": {"limits": {"memory": "2Gi"}}}],
    },
    "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]},
}


def job(*, conditions: list[Json] | None = None, failed: int = 0, **changes: Any) -> Json:
    made = copy.deepcopy(JOB)
    if conditions:
        made["status"]["conditions"] = [{"lastTransitionTime": ENDED, "status": "True", **each} for each in conditions]
    if failed:
        made["status"]["failed"] = failed
    for field, value in changes.items():
        made[field] = {**made[field], **value}
    return made


def pod(
    *, stage: Json | None = None, student: Json | None = None, conditions: list[Json] | None = None, second: int = 0
) -> Json:
    """With the states of its containers."""
    made = copy.deepcopy(POD)
    made["metadata"]["creationTimestamp"] = f"2030-01-31T11:00:{second:02}Z"
    status = made["status"]
    if conditions:
        status["conditions"] = conditions
    if student is not None:
        status["initContainerStatuses"] = [{"name": "student", "image": "llama:1", "restartCount": 3, **student}]
    if stage is not None:
        status["containerStatuses"] = [{"name": "stage", "image": "slim:1", "restartCount": 0, "state": stage}]
    return made


def ended(exit_code: int, reason: str = "Error", said: Any = None) -> Json:
    message = {"message": said if isinstance(said, str) else json.dumps(said)} if said is not None else {}
    return {"terminated": {"exitCode": exit_code, "reason": reason, **message}}


def waiting(reason: str, message: str = "") -> Json:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def seen(body: Json, *pods: Json) -> Seen:
    return see(body, pods, now=ENDED_AT)


UNSCHEDULABLE = [
    {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
    }
]
