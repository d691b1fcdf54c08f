"""What a Distillation on a cluster has made, for commands on this machine: its run's record, its student's address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stillhouse.cli.cluster import Cluster, condition, find_distillation, has_ended
from stillhouse.errors import FailedPrecondition, NotFound

if TYPE_CHECKING:
    from stillhouse.artifacts.store import Store
    from stillhouse.controller.runs import Run


@dataclass(frozen=True)
class ClusterRun:
    """A run's record, in an open store."""

    store: Store
    run: Run
    is_running: bool


@dataclass(frozen=True)
class ClusterStudent:
    """A student that answers at an address of this machine."""

    address: str
    role: str


@contextmanager
def recorded_run(cluster: Cluster, name: str, *, store: str | None) -> Iterator[ClusterRun]:
    """The record of a Distillation. Raises FailedPrecondition while there is none, and what the store raises."""
    from stillhouse.cli.cluster_store import opened_store, store_uri
    from stillhouse.controller.runs import find_run, run_name

    body = find_distillation(cluster, name)
    uri = store_uri(cluster, flag=store, spec=body["spec"].get("store"))
    with opened_store(cluster, uri) as opened:
        try:
            found = find_run(opened, run_name(cluster.namespace, name))
        except NotFound as exc:
            raise FailedPrecondition(
                f"the controller has recorded nothing of {name} in {uri} yet; "
                f"`stillhouse status {name}{cluster.options}`"
            ) from exc
        yield ClusterRun(opened, replace(found, name=name), not has_ended(body))


@contextmanager
def forwarded_student(cluster: Cluster, name: str) -> Iterator[ClusterStudent]:
    """The student that a Distillation feeds, behind a local port.

    Raises FailedPrecondition where none is served, and what `forwarded` raises.
    """
    from stillhouse.cli.cluster_forward import forwarded
    from stillhouse.controller.cluster.api import DEPLOYMENTS
    from stillhouse.controller.cluster.pods import STUDENT_PORT
    from stillhouse.controller.cluster.students import student_name

    body = find_distillation(cluster, name)
    student = student_name(body)
    deployment = cluster.api.get(DEPLOYMENTS, cluster.namespace, student)
    if deployment is None or not deployment.get("status", {}).get("availableReplicas"):
        serving = condition(body, "Serving")
        why = serving.get("message") or "its controller has not looked at it yet"
        state = "does not answer yet" if deployment is not None else "is not served"
        raise FailedPrecondition(f"student {student} {state}: {why}; `stillhouse status {name}{cluster.options}`")
    with forwarded(student, STUDENT_PORT, namespace=cluster.namespace, context=cluster.context) as port:
        yield ClusterStudent(f"127.0.0.1:{port}", str(body["spec"]["role"]))
