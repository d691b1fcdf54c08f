"""A cluster whose controller plays statuses that were written before, for tests of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fake_cluster import NAMESPACE, FakeCluster
from stillhouse.cli.cluster import Cluster
from stillhouse.controller.cluster.api import DISTILLATIONS, FIELD_MANAGER, Kind
from stillhouse.errors import StillhouseError

Json = dict[str, Any]
JOB = "train-0123"


class PlayedCluster(FakeCluster):
    """Every look at a Distillation finds the next status; the last one stays."""

    def __init__(self, statuses: Sequence[Json | StillhouseError] = ()) -> None:
        """An error is raised at that look."""
        super().__init__()
        self.statuses = list(statuses)
        self.managers: list[str] = []
        self.refusal: StillhouseError | None = None
        """Raised by every call that writes."""
        self.unreadable: set[str] = set()
        """Kinds that this user may not read."""

    def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        self._check_readable(kind)
        body = super().get(kind, namespace, name)
        if kind is DISTILLATIONS and body is not None and self.statuses:
            status = self.statuses[0] if len(self.statuses) == 1 else self.statuses.pop(0)
            if isinstance(status, StillhouseError):
                raise status
            body["status"] = {"observedGeneration": body["metadata"]["generation"], **status}
        return body

    def list(self, kind: Kind, namespace: str, *, labels: str = "") -> list[Json]:
        self._check_readable(kind)
        return super().list(kind, namespace, labels=labels)

    def apply(self, kind: Kind, namespace: str, body: Json, *, manager: str = FIELD_MANAGER) -> Json:
        if self.refusal is not None:
            raise self.refusal
        self.managers.append(manager)
        there = super().get(kind, namespace, body["metadata"]["name"])
        generation = there["metadata"]["generation"] + 1 if there else 1
        versioned = {**body, "metadata": {**body["metadata"], "generation": generation}}
        return super().apply(kind, namespace, versioned)

    def put(self, kind: Kind, body: Json) -> None:
        """An object that is simply there."""
        self._put(kind, NAMESPACE, body)

    def _check_readable(self, kind: Kind) -> None:
        from stillhouse.errors import PermissionDenied

        if kind.name in self.unreadable:
            raise PermissionDenied(f"{kind.plural} in {NAMESPACE}: forbidden")


def cluster_of(api: FakeCluster) -> Cluster:
    return Cluster(api, NAMESPACE, options=f" --cluster --namespace {NAMESPACE}")


def with_demo(*, stage: str = "train", spec: Json | None = None, **status: Any) -> PlayedCluster:
    """A Distillation that trains, in Job JOB."""
    api = PlayedCluster()
    steps = [
        {"name": "dataset", "stage": "dataset", "state": "done"},
        {"name": "train", "stage": "train", "state": "running", "job": JOB, "key": "k"},
        {"name": "export", "stage": "export", "state": "waiting", "message": "after train"},
    ]
    whole = {"observedGeneration": 1, "stage": stage, "steps": steps, **status}
    body = {"role": "product_owner", "dataset": {"imports": []}} | (spec or {})
    api.put(DISTILLATIONS, {"metadata": {"name": "demo", "generation": 1}, "spec": body, "status": whole})
    return api
