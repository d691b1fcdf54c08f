"""Why a Job failed, in the words of its last pod, and what to do about it."""

from __future__ import annotations

from typing import Any

import pytest

from observed_jobs import ENDED_AT, JOB, UNSCHEDULABLE, ended, job, pod, seen, waiting
from stillhouse.controller.cluster.observing import pod_note
from stillhouse.controller.plan import MAX_ATTEMPTS, Observation

Json = dict[str, Any]
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
