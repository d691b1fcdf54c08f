"""What a Job and its pods say: an Observation for the plan, and a few words for a person. Pure; called by the backend.

It must not know Distillations. Times are in seconds since the epoch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillhouse.controller.cluster.jobs import (
    ATTEMPT_ANNOTATION,
    KEY_ANNOTATION,
    QUEUE_LABEL,
    STAGE_CONTAINER,
    STAGE_LABEL,
    TEMPLATE_ANNOTATION,
)
from stillhouse.controller.cluster.timestamps import seconds_of
from stillhouse.controller.plan import MAX_ATTEMPTS, Observation
from stillhouse.errors import EXIT_PERMANENT, EXIT_TEMPORARY

Json = dict[str, Any]

_PULLING = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"})
_POD_SECONDS = 20.0
"""A Job has a pod well before that."""
_UNUSABLE = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True)
class Seen:
    """A Job as it is now."""

    name: str
    uid: str
    key: str
    owners: tuple[str, ...]
    """Their uids."""
    template: str
    """Digest of what it runs."""
    observation: Observation
    state: str
    """queued, pending, running, stopping, succeeded or failed."""
    note: str = ""
    """What a person should know of it while it is under way."""
    has_ttl: bool = False
    """Whether it may be forgotten already."""


def see(job: Json, pods: Iterable[Json], *, now: float) -> Seen:
    """The Job at `now`; `pods` are its own."""
    metadata, spec = job["metadata"], job["spec"]
    annotations = metadata.get("annotations", {})
    attempt = int(annotations.get(ATTEMPT_ANNOTATION, "1"))
    ordered = sorted(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "")
    state, note, observation = _state(job, ordered, attempt, now=now)
    return Seen(
        name=metadata["name"],
        uid=metadata["uid"],
        key=annotations.get(KEY_ANNOTATION, ""),
        owners=tuple(owner["uid"] for owner in metadata.get("ownerReferences", [])),
        template=annotations.get(TEMPLATE_ANNOTATION, ""),
        observation=observation,
        state=state,
        note=note,
        has_ttl=spec.get("ttlSecondsAfterFinished") is not None,
    )


def pods_by_job(pods: Iterable[Json]) -> dict[str, list[Json]]:
    """By the uid of the Job that made them."""
    found: dict[str, list[Json]] = {}
    for pod in pods:
        for owner in pod["metadata"].get("ownerReferences", []):
            found.setdefault(owner["uid"], []).append(pod)
    return found


def queue_note(workload: Json) -> str:
    """Why Kueue lets a Job wait, in its own words."""
    for condition in workload.get("status", {}).get("conditions", []):
        if condition["type"] == "QuotaReserved" and condition["status"] != "True":
            return str(condition.get("message", ""))
    return ""


def _state(job: Json, pods: Sequence[Json], attempt: int, *, now: float) -> tuple[str, str, Observation]:
    conditions = {
        entry["type"]: entry for entry in job.get("status", {}).get("conditions", []) if entry["status"] == "True"
    }
    running = Observation(running=True, attempts=attempt)
    if job["metadata"].get("deletionTimestamp"):
        return "stopping", "stopping after a checkpoint", running
    if (complete := conditions.get("Complete")) is not None:
        ended = Observation(
            running=False, attempts=attempt, ended_at=_seconds(complete), message="the Job ended without a result"
        )
        return "succeeded", "", ended
    if (failed := conditions.get("Failed")) is not None:
        return "failed", "", _failure(job, failed, pods, attempt)
    if job["spec"].get("suspend"):
        queue = job["metadata"].get("labels", {}).get(QUEUE_LABEL)
        return "queued", f"waiting in queue {queue}" if queue else "the Job is suspended", running
    note = pod_note(pods[-1]) if pods else _podless_note(job, now)
    failures = int(job.get("status", {}).get("failed", 0))
    if failures:
        last = _last_words(pods)
        note = f"attempt {failures + 1} of {MAX_ATTEMPTS}; {note or last}" if note or last else note
    started = any(_is_running(pod) for pod in pods)
    return "running" if started else "pending", note, running


def _failure(job: Json, condition: Json, pods: Sequence[Json], attempt: int) -> Observation:
    """A Job that failed has tried as often as it may: what its last pod said decides whether a later day may help."""
    reason, ended_at = condition.get("reason", ""), _seconds(condition)
    if reason == "DeadlineExceeded":
        seconds = job["spec"].get("activeDeadlineSeconds")
        stage = job["metadata"].get("labels", {}).get(STAGE_LABEL, "")
        message = f"did not end within {seconds} s: raise spec.resources.{stage}.deadlineSeconds"
        return Observation(
            running=False, attempts=attempt, exit_code=EXIT_PERMANENT, ended_at=ended_at, message=message
        )
    code, message = _last_exit(pods)
    if code is None:  # its pods are gone
        code = EXIT_PERMANENT if reason == "PodFailurePolicy" else EXIT_TEMPORARY
        message = condition.get("message", "") or "the Job failed"
    metadata = job["metadata"]
    again = f"; to try again: kubectl -n {metadata['namespace']} delete job {metadata['name']}"
    return Observation(
        running=False, attempts=MAX_ATTEMPTS, exit_code=code, ended_at=ended_at, message=f"{message}{again}"
    )


def _last_exit(pods: Sequence[Json]) -> tuple[int | None, str]:
    """Exit code and words of the stage that failed last."""
    for pod in reversed(pods):
        for status in pod.get("status", {}).get("containerStatuses", []):
            ended = status.get("state", {}).get("terminated")
            if status["name"] == STAGE_CONTAINER and ended and ended.get("exitCode"):
                return _exit_code(ended), _words(ended, pod)
    return None, ""


def _exit_code(ended: Mapping[str, Any]) -> int:
    """Of a killed container: that of a temporary error."""
    code = int(ended["exitCode"])
    return EXIT_TEMPORARY if code > 128 else code  # 128 and the signal's number


def _last_words(pods: Sequence[Json]) -> str:
    _, words = _last_exit(pods)
    return f"before: {words}" if words else ""


def _words(ended: Mapping[str, Any], pod: Json, container: str = STAGE_CONTAINER) -> str:
    if ended.get("reason") == "OOMKilled":
        limit = _memory_limit(pod, container)
        stage = pod["metadata"].get("labels", {}).get(STAGE_LABEL, "") if container == STAGE_CONTAINER else "serve"
        return f"out of memory{f' (limit {limit})' if limit else ''}: raise spec.resources.{stage}.limits.memory"
    said = ended.get("message") or ""
    try:
        status = json.loads(said)
    except ValueError:
        status = None
    if isinstance(status, dict) and status.get("message"):
        return str(status["message"])
    how = f"{ended.get('reason', 'Error')}, exit code {ended['exitCode']}"
    log = pod["metadata"]["name"] + (f" -c {container}" if container != STAGE_CONTAINER else "")
    return f"{how}: {' '.join(said.split())}" if said and status is None else f"{how}; see the log of pod {log}"


def _memory_limit(pod: Json, container: str) -> str:
    spec = pod.get("spec", {})
    for entry in [*spec.get("initContainers", []), *spec.get("containers", [])]:
        if entry["name"] == container:
            return str(entry.get("resources", {}).get("limits", {}).get("memory", ""))
    return ""


def pod_note(pod: Json) -> str:
    """Why a pod does not get going; empty where it does."""
    status = pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"can't be scheduled: {condition.get('message', condition.get('reason', ''))}"
    for entry in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = entry.get("state", {}).get("waiting", {})
        reason = waiting.get("reason", "")
        if reason in _PULLING:
            return f"image {entry.get('image')} can't be had ({reason}): {waiting.get('message', '')}"
        if reason in _UNUSABLE:
            return f"{reason}: {waiting.get('message', '')}"
        if reason == "CrashLoopBackOff":
            ended = entry.get("lastState", {}).get("terminated", {"exitCode": 0})
            beside = " beside it" if STAGE_LABEL in pod["metadata"].get("labels", {}) else ""
            return f"the {entry['name']}{beside} ends again and again: {_words(ended, pod, entry['name'])}"
    return ""


def _podless_note(job: Json, now: float) -> str:
    """A quota, a policy or an account that is missing keeps a pod from being made; only the Job's events say which."""
    started = job.get("status", {}).get("startTime")
    if started is None or now - seconds_of(started) < _POD_SECONDS:
        return ""
    metadata = job["metadata"]
    return f"its pod can't be made: kubectl -n {metadata['namespace']} describe job {metadata['name']} says why"


def _is_running(pod: Json) -> bool:
    return any(
        entry["name"] == STAGE_CONTAINER and "running" in entry.get("state", {})
        for entry in pod.get("status", {}).get("containerStatuses", [])
    )


def _seconds(condition: Mapping[str, Any]) -> float:
    text = condition.get("lastTransitionTime")
    return seconds_of(text) if text else 0.0
