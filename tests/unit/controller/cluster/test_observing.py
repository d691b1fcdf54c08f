"""What is seen of a Job and its pods: whose it is, what keeps it, when it was done."""

from __future__ import annotations

from typing import Any

import pytest

from observed_jobs import ENDED, ENDED_AT, JOB, UNSCHEDULABLE, ended, job, pod, seen, waiting
from stillhouse.controller.cluster.observing import pods_by_job, queue_note
from stillhouse.controller.plan import Observation

Json = dict[str, Any]
RUNNING = {"running": {"startedAt": ENDED}}


def test_a_job_is_who_it_says_it_is() -> None:
    found = seen(JOB)
    assert (found.name, found.uid, found.owners) == ("evaluate-0123456789", "job-1", ("uid-1",))
    assert (found.key, found.template, found.observation.attempts) == ("0123456789" * 6, "abc", 2)
    assert not found.has_ttl
    assert seen(job(spec={"ttlSecondsAfterFinished": 0})).has_ttl


def test_a_job_of_nobody_is_nobodys() -> None:
    bare = {"metadata": {"name": "x", "uid": "u"}, "spec": {}}
    found = seen(bare)
    assert (found.key, found.owners, found.state) == ("", (), "pending")


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
