"""`stillhouse logs RUN STEP --cluster`: the log of a step's latest pod, or of the student's."""

from __future__ import annotations

import sys
import time
from typing import Any

from stillhouse.cli.cluster import Cluster, find_distillation
from stillhouse.cli.tables import remarks
from stillhouse.errors import FailedPrecondition, InvalidArgument, NotFound

Json = dict[str, Any]

SERVE = "serve"
_LOOK_SECONDS = 1.0
_ENDED = frozenset({"done", "failed"})


def print_logs(cluster: Cluster, name: str, step_name: str, *, follow: bool) -> None:
    """Writes it to standard output; with `follow` until the step has ended, whatever pods it takes.

    Raises NotFound for a step that is not there or whose pods are gone, FailedPrecondition for one that has not begun.
    """
    shown: set[str] = set()
    said = ""
    while True:
        body = find_distillation(cluster, name)
        pod, why = _latest_pod(cluster, body, step_name)
        new = pod is not None and pod["metadata"]["uid"] not in shown
        if pod is not None and new and _has_begun(pod, step_name):
            shown.add(pod["metadata"]["uid"])
            _print(cluster, pod, step_name, follow=follow)
        elif not follow:
            raise FailedPrecondition(_waits(step_name, pod, why))
        if not follow or _is_over(body, step_name, shown):
            return
        words = _waits(step_name, pod, why)
        if new and words != said:
            said = words
            remarks().print(words, markup=False, soft_wrap=True)
        time.sleep(_LOOK_SECONDS)


def _is_over(body: Json, step_name: str, shown: set[str]) -> bool:
    if step_name == SERVE:
        return bool(shown)
    return _step(body, step_name)["state"] in _ENDED


def _latest_pod(cluster: Cluster, body: Json, step_name: str) -> tuple[Json | None, str]:
    """The pod, or why there is none."""
    from stillhouse.controller.cluster.api import PODS
    from stillhouse.controller.cluster.jobs import STAGE_LABEL
    from stillhouse.controller.cluster.serving import STUDENT_LABEL
    from stillhouse.controller.cluster.students import student_name

    if step_name == SERVE:
        label, why = f"{STUDENT_LABEL}={student_name(body)}", f"no pod serves {student_name(body)}"
    else:
        step = _step(body, step_name)
        job, why = step.get("job", ""), step.get("message", "")
        if not job:
            return None, why
        label = f"batch.kubernetes.io/job-name={job},{STAGE_LABEL}"
    pods = cluster.api.list(PODS, cluster.namespace, labels=label)
    latest = max(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "", default=None)
    if latest is None and step_name != SERVE and step["state"] in _ENDED:
        raise NotFound(f"the pods of {step_name} (Job {job}) are gone, and their logs with them")
    return latest, why


def _step(body: Json, name: str) -> Json:
    steps: list[Json] = body.get("status", {}).get("steps", [])
    for step in steps:
        if step["name"] == name:
            return step
    known = ", ".join([step["name"] for step in steps] + [SERVE])
    raise InvalidArgument(f"{body['metadata']['name']} has no step {name!r}; there: {known}")


def _container(step_name: str) -> str:
    from stillhouse.controller.cluster.jobs import STAGE_CONTAINER
    from stillhouse.controller.cluster.pods import STUDENT_CONTAINER

    return STUDENT_CONTAINER if step_name == SERVE else STAGE_CONTAINER


def _has_begun(pod: Json, step_name: str) -> bool:
    """Whether its container has said anything, or may."""
    return any(
        status["name"] == _container(step_name)
        and ({"running", "terminated"} & set(status.get("state", {})) or status.get("restartCount"))
        for status in pod.get("status", {}).get("containerStatuses", [])
    )


def _waits(step_name: str, pod: Json | None, why: str) -> str:
    where = f", pod {pod['metadata']['name']}" if pod is not None else ""
    return f"{step_name} has not begun{where}{f': {why}' if why else ''}"


def _print(cluster: Cluster, pod: Json, step_name: str, *, follow: bool) -> None:
    name, container = pod["metadata"]["name"], _container(step_name)
    if not follow:
        sys.stdout.write(cluster.api.logs(cluster.namespace, name, container=container))
        return
    for piece in cluster.api.follow_log(cluster.namespace, name, container=container):
        sys.stdout.write(piece)
        sys.stdout.flush()
