"""A cluster in memory for tests of the controller: an API server's objects, and a hand that plays the Job controller.

It keeps what matters to a controller: names are taken once, versions conflict, foreground deletion takes its time. What
a real API server does besides is tested on one.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from stillhouse.artifacts.messages import parse_json, unpack_any
from stillhouse.artifacts.store import Store
from stillhouse.controller.cluster.api import (
    DEPLOYMENTS,
    DISTILLATIONS,
    FIELD_MANAGER,
    JOBS,
    PODS,
    Conflict,
    Kind,
    KubernetesApi,
)
from stillhouse.controller.cluster.settings import Settings
from stillhouse.errors import NotFound
from stillhouse.v1.artifact_pb2 import Manifest

Json = dict[str, Any]
NAMESPACE = "team"
SETTINGS = Settings.model_validate(
    {
        "store": "s3://shared",
        "namespaces": [NAMESPACE],
        "images": {"slim": "slim:1", "torch": "torch:1", "llama": "llama:1"},
        "serviceAccounts": {"teacher": "teacher", "stage": "stage"},
        "envFrom": [{"secretRef": {"name": "store"}}],
    }
)


class Killed(BaseException):
    """The controller died behind a write."""


class FakeCluster(KubernetesApi):
    """Objects by kind, namespace and name."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Json] = {}
        self.writes: list[str] = []
        self.before_write: Callable[[], None] = lambda: None
        """Called before every write: raises where the API server is to be gone."""
        self.killed_after: int | None = None
        """The controller is killed behind that many more writes."""
        self._versions = 0

    def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        return copy.deepcopy(self.objects.get((kind.plural, namespace, name)))

    def list(self, kind: Kind, namespace: str, *, labels: str = "") -> list[Json]:
        wanted = [part.partition("=") for part in labels.split(",") if part]
        return [
            copy.deepcopy(body)
            for (plural, where, _), body in sorted(self.objects.items())
            if plural == kind.plural
            and where == namespace
            and all(
                (not equals and key in body["metadata"].get("labels", {}))
                or (equals and body["metadata"].get("labels", {}).get(key) == value)
                for key, equals, value in wanted
            )
        ]

    def create(self, kind: Kind, namespace: str, body: Json) -> Json:
        name = body["metadata"]["name"]
        if (kind.plural, namespace, name) in self.objects:
            raise Conflict(f"{kind.name} {namespace}/{name} already exists")
        return self._write(f"create {kind.name} {name}", kind, namespace, copy.deepcopy(body))

    def apply(self, kind: Kind, namespace: str, body: Json, *, manager: str = FIELD_MANAGER) -> Json:
        name = body["metadata"]["name"]
        there = self.objects.get((kind.plural, namespace, name))
        self._check_version(there, body)
        return self._write(f"apply {kind.name} {name}", kind, namespace, _merged(there or {}, body))

    def patch(self, kind: Kind, namespace: str, name: str, body: Json) -> Json:
        there = self.objects.get((kind.plural, namespace, name))
        if there is None:
            raise NotFound(name)
        self._check_version(there, body)
        return self._write(f"patch {kind.name} {name}", kind, namespace, _merged(there, body, "spec"))

    def replace_status(self, kind: Kind, namespace: str, body: Json) -> Json:
        name = body["metadata"]["name"]
        there = self.objects.get((kind.plural, namespace, name))
        self._check_version(there, body)
        return self._write(
            f"status {name}", kind, namespace, {**(there or {}), "status": copy.deepcopy(body["status"])}
        )

    def delete(self, kind: Kind, namespace: str, name: str, *, foreground: bool = False, uid: str = "") -> None:
        there = self.objects.get((kind.plural, namespace, name))
        if there is None or (uid and there["metadata"]["uid"] != uid):
            return
        if foreground:
            self._write(
                f"delete {kind.name} {name}",
                kind,
                namespace,
                _merged(there, {"metadata": {"deletionTimestamp": "now"}}),
            )
        else:
            del self.objects[kind.plural, namespace, name]
            self._wrote(f"delete {kind.name} {name}")

    # What a person does.

    def submit(self, name: str, spec: Json) -> None:
        """`kubectl apply`."""
        there = self.objects.get((DISTILLATIONS.plural, NAMESPACE, name))
        generation = there["metadata"]["generation"] + 1 if there else 1
        body = {"metadata": {"name": name, "generation": generation}, "spec": spec}
        if there and "status" in there:
            body["status"] = there["status"]
        self._put(DISTILLATIONS, NAMESPACE, _merged({"metadata": there["metadata"]} if there else {}, body))

    def remove(self, name: str) -> None:
        """`kubectl delete`, without its finalizers."""
        there = self.objects[DISTILLATIONS.plural, NAMESPACE, name]
        if there["metadata"].get("finalizers"):
            there["metadata"]["deletionTimestamp"] = "now"
        else:
            del self.objects[DISTILLATIONS.plural, NAMESPACE, name]

    def status(self, name: str) -> Json:
        """Of a Distillation."""
        status: Json = self.objects[DISTILLATIONS.plural, NAMESPACE, name].get("status", {})
        return status

    # What Kubernetes does.

    def jobs(self) -> list[Json]:
        """All of them."""
        return self.list(JOBS, NAMESPACE)

    def begin(self, job: Json) -> None:
        """The Job's pod runs."""
        pod = pod_of(job, exit_code=0)
        pod["status"] = {"phase": "Running", "containerStatuses": [{"name": "stage", "state": {"running": {}}}]}
        self._put(PODS, NAMESPACE, pod)

    def fail(self, job: Json, *, reason: str, exit_code: int, message: str = "") -> None:
        """The Job has failed for good; its last pod said `message`."""
        name = job["metadata"]["name"]
        self._put(PODS, NAMESPACE, pod_of(job, exit_code=exit_code, message=message))
        failed = {"type": "Failed", "status": "True", "reason": reason, "lastTransitionTime": "2030-01-01T00:00:00Z"}
        self.objects[JOBS.plural, NAMESPACE, name]["status"] = {"conditions": [failed], "failed": 1}

    def finish(self, job: Json, store: Store, result: Callable[[Message], Message], *, second: int) -> None:
        """The Job has done its work: its manifest is there, made at that second."""
        request = request_of(job, store)
        key = job["metadata"]["annotations"]["stillhouse.dev/key"]
        manifest = Manifest(stage=job["metadata"]["labels"]["stillhouse.dev/stage"], key=key)
        manifest.create_time.FromSeconds(second)
        manifest.request.Pack(request)
        manifest.result.Pack(result(request))
        store.commit_manifest(manifest)
        done = {"type": "Complete", "status": "True", "lastTransitionTime": "2030-01-01T00:00:00Z"}
        self.objects[JOBS.plural, NAMESPACE, job["metadata"]["name"]]["status"] = {"conditions": [done]}

    def roll_out(self, name: str) -> None:
        """The student's new pod answers, and the old one is gone."""
        body = self.objects[DEPLOYMENTS.plural, NAMESPACE, name]
        generation = body["metadata"]["generation"]
        body["status"] = {
            "observedGeneration": generation,
            "replicas": 1,
            "updatedReplicas": 1,
            "availableReplicas": 1,
        }

    def forget_deleted(self) -> None:
        """Pods are gone: what was deleted in the foreground goes."""
        for place in [place for place, body in self.objects.items() if body["metadata"].get("deletionTimestamp")]:
            if place[0] == JOBS.plural:
                del self.objects[place]

    def _check_version(self, there: Json | None, body: Json) -> None:
        version = body.get("metadata", {}).get("resourceVersion")
        if version and (there is None or there["metadata"]["resourceVersion"] != version):
            raise Conflict("the object has been modified")

    def _write(self, what: str, kind: Kind, namespace: str, body: Json) -> Json:
        self.before_write()
        made = self._put(kind, namespace, body)
        self._wrote(what)
        return made

    def _put(self, kind: Kind, namespace: str, body: Json) -> Json:
        name = body["metadata"]["name"]
        there = self.objects.get((kind.plural, namespace, name))
        self._versions += 1
        changed = there is None or there.get("spec") != body.get("spec")
        metadata = {
            "uid": f"uid-{kind.plural}-{self._versions}",
            "creationTimestamp": f"2030-01-01T00:00:{self._versions % 60:02}Z",
            "generation": 0,
            **body["metadata"],
            "namespace": namespace,
            "resourceVersion": str(self._versions),
        }
        if kind is not DISTILLATIONS and changed:
            metadata["generation"] += 1
        made = {"apiVersion": kind.group_version, "kind": kind.name, **body, "metadata": metadata}
        if kind is DISTILLATIONS and metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            self.objects.pop((kind.plural, namespace, name), None)
            return made
        self.objects[kind.plural, namespace, name] = made
        return copy.deepcopy(made)

    def _wrote(self, what: str) -> None:
        self.writes.append(what)
        if self.killed_after is not None:
            self.killed_after -= 1
            if self.killed_after == 0:
                self.killed_after = None
                raise Killed(what)


def request_of(job: Json, store: Store) -> Message:
    """What a Job was asked to do."""
    path = f"runs/{job['metadata']['annotations']['stillhouse.dev/key']}/request.json"
    data = store.read_object(path)
    assert data is not None
    return unpack_any(parse_json(data, AnyMessage(), source=path))


def pod_of(job: Json, *, exit_code: int, message: str = "", reason: str = "Error") -> Json:
    """A pod of that Job whose stage has ended."""
    said = json.dumps({"code": 9, "message": message}) if message else ""
    ended = {"exitCode": exit_code, "reason": reason, "message": said}
    template = job["spec"]["template"]
    return {
        "metadata": {
            "name": f"{job['metadata']['name']}-pod",
            "labels": template["metadata"]["labels"],
            "ownerReferences": [{"uid": job["metadata"]["uid"], "kind": "Job", "name": job["metadata"]["name"]}],
        },
        "spec": template["spec"],
        "status": {"phase": "Failed", "containerStatuses": [{"name": "stage", "state": {"terminated": ended}}]},
    }


def _merged(target: Json, patch: Json, *fields: str) -> Json:
    """Metadata, and those fields, are merged; all others replaced."""
    result = copy.deepcopy(target)
    for key, value in copy.deepcopy(patch).items():
        result[key] = {**result.get(key, {}), **value} if key in ("metadata", *fields) else value
    return result
