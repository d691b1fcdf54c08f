"""Jobs and pods as Kubernetes shows them: what they mean for the plan, and in words."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from stillhouse.controller.cluster.observing import Seen, pod_note, pods_by_job, queue_note, see
from stillhouse.controller.plan import MAX_ATTEMPTS, Observation

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


RUNNING = {"running": {"startedAt": ENDED}}
UNSCHEDULABLE = [
    {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
    }
]


def test_a_job_is_who_it_says_it_is() -> None:
    found = seen(JOB)
    assert (found.name, found.uid, found.stage, found.owners) == (
        "evaluate-0123456789",
        "job-1",
        "evaluate",
        ("uid-1",),
    )
    assert (found.key, found.template, found.observation.attempts) == ("0123456789" * 6, "abc", 2)
    assert not found.has_ttl
    assert seen(job(spec={"ttlSecondsAfterFinished": 0})).has_ttl


def test_a_job_of_nobody_is_nobodys() -> None:
    bare = {"metadata": {"name": "x", "uid": "u"}, "spec": {}}
    found = seen(bare)
    assert (found.key, found.stage, found.owners, found.state) == ("", "", (), "pending")


@pytest.mark.parametrize(
    ("body", "pods", "state", "note"),
    [
        (job(status={"startTime": ENDED}), [], "pending", ""),
        (job(spec={"suspend": True}), [], "queued", "the Job is suspended"),
        (
            job(
                spec={"suspend": True},
                metadata={"labels": {**JOB["metadata"]["labels"], "kueue.x-k8s.io/queue-name": "gpus"}},
            ),
            [],
            "queued",
            "waiting in queue gpus",
        ),
        (job(metadata={"deletionTimestamp": ENDED}), [pod(stage=RUNNING)], "stopping", "stopping after a checkpoint"),
        (
            job(metadata={"deletionTimestamp": ENDED}, conditions=[{"type": "Failed"}]),
            [],
            "stopping",
            "stopping after a checkpoint",
        ),
        (JOB, [pod(stage=RUNNING)], "running", ""),
        (JOB, [pod(stage=waiting("PodInitializing"))], "pending", ""),
        (JOB, [pod(stage=waiting("ContainerCreating"))], "pending", ""),
        (
            JOB,
            [pod(conditions=UNSCHEDULABLE)],
            "pending",
            "can't be scheduled: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        ),
        (
            JOB,
            [pod(stage=waiting("ErrImageNeverPull", 'Container image "slim:1" is not present with pull policy'))],
            "pending",
            'image slim:1 can\'t be had (ErrImageNeverPull): Container image "slim:1" is not present with pull policy',
        ),
        (
            JOB,
            [pod(student={"state": waiting("ImagePullBackOff", "Back-off")}, stage=waiting("PodInitializing"))],
            "pending",
            "image llama:1 can't be had (ImagePullBackOff): Back-off",
        ),
        (
            JOB,
            [pod(stage=waiting("CreateContainerConfigError", 'secret "store" not found'))],
            "pending",
            'CreateContainerConfigError: secret "store" not found',
        ),
        (
            JOB,
            [
                pod(
                    student={
                        "state": waiting("CrashLoopBackOff"),
                        "lastState": ended(65, "Error", {"code": 5, "message": "no blob of that digest"}),
                    },
                    stage=waiting("PodInitializing"),
                )
            ],
            "pending",
            "the student beside it ends again and again: no blob of that digest",
        ),
        (
            JOB,
            [
                pod(
                    student={"state": waiting("CrashLoopBackOff"), "lastState": ended(137, "OOMKilled")},
                    stage=RUNNING,
                )
            ],
            "running",
            "the student beside it ends again and again: out of memory (limit 2Gi): raise "
            "spec.resources.serve.limits.memory",
        ),
        (
            JOB,
            [pod(student={"state": waiting("CrashLoopBackOff"), "lastState": ended(139)})],
            "pending",
            "the student beside it ends again and again: Error, exit code 139; see the log of pod "
            "evaluate-0123456789-x7k2p -c student",
        ),
        (
            job(failed=1),
            [pod(stage=ended(75, "Error", {"message": "the store is away"})), pod(stage=RUNNING, second=1)],
            "running",
            "attempt 2 of 5; before: the store is away",
        ),
        (
            job(failed=1),
            [pod(stage=ended(137, "OOMKilled")), pod(conditions=UNSCHEDULABLE, second=1)],
            "pending",
            "attempt 2 of 5; can't be scheduled: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        ),
        # Failed, but its pods still end: not yet.
        (job(conditions=[{"type": "FailureTarget"}]), [pod(stage=RUNNING)], "running", ""),
        (job(conditions=[{"type": "Failed", "status": "False"}]), [pod(stage=RUNNING)], "running", ""),
        (job(conditions=[{"type": "Suspended"}]), [pod(stage=RUNNING)], "running", ""),
    ],
)
def test_a_job_that_has_not_ended_runs_and_says_what_keeps_it(
    body: Json, pods: list[Json], state: str, note: str
) -> None:
    found = seen(body, *pods)
    assert (found.state, found.note) == (state, note)
    assert found.observation == Observation(running=True, attempts=2)


def test_the_last_pod_speaks_in_whatever_order_they_come() -> None:
    first, last = pod(stage=ended(75, "Error", {"message": "early"})), pod(stage=RUNNING, second=5)
    assert seen(job(failed=1), last, first) == seen(job(failed=1), first, last)


def test_a_job_that_is_done_says_when() -> None:
    found = seen(
        job(conditions=[{"type": "SuccessCriteriaMet"}, {"type": "Complete"}]), pod(stage=ended(0, "Completed"))
    )
    assert found.state == "succeeded"
    assert (found.observation.running, found.observation.exit_code, found.observation.ended_at) == (False, 0, ENDED_AT)


AGAIN = "; to try again: kubectl -n team delete job evaluate-0123456789"


@pytest.mark.parametrize(
    ("condition", "pods", "exit_code", "attempts", "message"),
    [
        (
            {"reason": "PodFailurePolicy", "message": "Container stage failed with exit code 65"},
            [pod(stage=ended(65, "Error", {"code": 9, "message": "12 records, fewer than 20"}))],
            65,
            MAX_ATTEMPTS,
            f"12 records, fewer than 20{AGAIN}",
        ),
        (
            {"reason": "PodFailurePolicy", "message": "Container stage failed with exit code 2 matching FailJob"},
            [],
            65,
            MAX_ATTEMPTS,
            f"Container stage failed with exit code 2 matching FailJob{AGAIN}",
        ),
        (
            {"reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"},
            [],
            75,
            MAX_ATTEMPTS,
            f"Job has reached the specified backoff limit{AGAIN}",
        ),
        ({"reason": "BackoffLimitExceeded"}, [], 75, MAX_ATTEMPTS, f"the Job failed{AGAIN}"),
        (
            {"reason": "BackoffLimitExceeded"},
            [pod(stage=ended(137, "OOMKilled"))],
            75,
            MAX_ATTEMPTS,
            f"out of memory (limit 1Gi): raise spec.resources.evaluate.limits.memory{AGAIN}",
        ),
        (
            {"reason": "BackoffLimitExceeded"},
            [pod(stage=ended(65, said={"message": "first"})), pod(stage=ended(143), second=1)],
            75,
            MAX_ATTEMPTS,
            f"Error, exit code 143; see the log of pod evaluate-0123456789-x7k2p{AGAIN}",
        ),
        (
            {"reason": "BackoffLimitExceeded"},
            [pod(stage=ended(75, said={"message": "told"})), pod(conditions=UNSCHEDULABLE, second=1)],
            75,
            MAX_ATTEMPTS,
            f"told{AGAIN}",
        ),
        (
            {"reason": "BackoffLimitExceeded"},
            [pod(stage=ended(128, "StartError", 'exec: "python":\n not found'))],
            128,
            MAX_ATTEMPTS,
            f'StartError, exit code 128: exec: "python": not found{AGAIN}',
        ),
        (
            {"reason": "BackoffLimitExceeded"},
            [pod(stage=ended(1, "Error", ["a list"]))],
            1,
            MAX_ATTEMPTS,
            f"Error, exit code 1; see the log of pod evaluate-0123456789-x7k2p{AGAIN}",
        ),
        (
            {"reason": "DeadlineExceeded", "message": "Job was active longer than specified deadline"},
            [pod(stage=ended(143))],
            65,
            2,
            "did not end within 60 s: raise spec.resources.evaluate.deadlineSeconds",
        ),
    ],
)
def test_a_job_that_failed_says_why_in_its_last_pods_words(
    condition: Json, pods: list[Json], exit_code: int, attempts: int, message: str
) -> None:
    body = job(conditions=[{"type": "FailureTarget", **condition}, {"type": "Failed", **condition}])
    found = seen(body, *pods)
    assert (found.state, found.note) == ("failed", "")
    assert found.observation == Observation(
        running=False, attempts=attempts, exit_code=exit_code, ended_at=ENDED_AT, message=message
    )


def test_a_pod_that_was_evicted_before_it_ran_says_nothing() -> None:
    evicted = pod()
    evicted["status"] = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
    assert seen(JOB, evicted).note == ""


def test_a_students_own_pod_says_whose_memory_it_was() -> None:
    made = pod()
    made["metadata"]["labels"] = {"stillhouse.dev/student": "quiz"}
    made["spec"] = {"containers": [{"name": "student", "resources": {"limits": {"memory": "2Gi"}}}]}
    made["status"]["containerStatuses"] = [
        {"name": "student", "state": waiting("CrashLoopBackOff"), "lastState": ended(137, "OOMKilled")}
    ]
    assert pod_note(made) == (
        "the student ends again and again: out of memory (limit 2Gi): raise spec.resources.serve.limits.memory"
    )


def test_pods_are_found_by_the_job_that_made_them() -> None:
    orphan = {"metadata": {"name": "orphan"}}
    assert pods_by_job([pod(), orphan, pod(second=1)]) == {"job-1": [pod(), pod(second=1)]}


@pytest.mark.parametrize(
    ("conditions", "note"),
    [
        ([], ""),
        ([{"type": "QuotaReserved", "status": "True", "message": "Quota reserved"}], ""),
        (
            [{"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": "couldn't assign flavors"}],
            "couldn't assign flavors",
        ),
        ([{"type": "Evicted", "status": "True", "message": "preempted"}], ""),
    ],
)
def test_kueue_says_why_a_job_waits(conditions: list[Json], note: str) -> None:
    assert queue_note({"status": {"conditions": conditions}}) == note
    assert queue_note({}) == ""
