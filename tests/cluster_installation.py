"""The chart, installed once for the tests of a real cluster: Distillations are submitted and waited for here.

It knows a cluster by KUBECONFIG and the images by IMAGE_PREFIX and IMAGE_TAG. A wait that fails prints what there is.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from cluster_distillations import ENDED, Judge, owners_of, step_of
from rendered_chart import CHART
from stillhouse.controller.cluster.api import DEPLOYMENTS, DISTILLATIONS, EVENTS, JOBS, PODS, KubernetesApi
from stillhouse.errors import StillhouseError

Json = dict[str, Any]

CONTROLLER, OBJECT_STORE = "stillhouse-controller", "stillhouse-object-store"
KUEUE_GROUP = "kueue.x-k8s.io"
_OPEN_STORE = "from stillhouse.artifacts.store import Store; store = Store.open('{uri}'); "


@dataclass(frozen=True)
class Installation:
    """A release in a namespace of its own."""

    namespace: str
    api: KubernetesApi
    core: client.CoreV1Api
    _names: list[str] = field(default_factory=list)

    @property
    def store(self) -> str:
        """Its URI, with a bucket of this installation's own: a volume may hold what an earlier one left."""
        return f"s3://{self.namespace}"

    def run(self, program: str, *arguments: str, given: str | None = None, seconds: float = 300) -> str:
        """What `helm` or `kubectl` prints. Fails with what it says where it fails."""
        done = subprocess.run(
            [program, "--namespace", self.namespace, *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"{program} {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    # Distillations.

    def submit(self, name: str, spec: Json) -> None:
        """Makes it."""
        self.api.create(DISTILLATIONS, self.namespace, {"metadata": {"name": name}, "spec": spec})
        self._names.append(name)

    def change(self, name: str, **spec: Any) -> None:
        """Merges those fields into its spec; None takes one away."""
        self.api.patch(DISTILLATIONS, self.namespace, name, {"spec": spec})

    def distillation(self, name: str) -> Json:
        """The object."""
        found = self.api.get(DISTILLATIONS, self.namespace, name)
        assert found is not None, f"there is no Distillation {name}"
        return found

    def status(self, name: str) -> Json:
        """What was observed."""
        status: Json = self.distillation(name).get("status", {})
        return status

    def wait(self, name: str, judge: Judge, *, what: str, seconds: float = 180) -> Json:
        """The first status of what is wanted now that is as it should be; fails with all there is to know."""
        deadline = time.monotonic() + seconds
        while True:
            body = self.distillation(name)
            status: Json = body.get("status", {})
            if status.get("observedGeneration") == body["metadata"]["generation"] and judge(status):
                return status
            if time.monotonic() > deadline:
                pytest.fail(f"{name} is not {what} after {seconds:.0f} s\n{self.story(name)}", pytrace=False)
            time.sleep(0.5)

    def wait_for_end(self, name: str, *, seconds: float = 600) -> Json:
        """The status once every step is done, or none can be."""
        return self.wait(name, lambda status: status.get("stage") in ENDED, what="at its end", seconds=seconds)

    def wait_for_step(self, name: str, step: str, state: str, *, seconds: float = 180) -> Json:
        """The step once it is in that state."""
        status = self.wait(
            name, lambda status: step_of(status, step).get("state") == state, what=f"{state} in {step}", seconds=seconds
        )
        return step_of(status, step)

    def delete(self, name: str, *, seconds: float = 120) -> None:
        """Deletes it and waits until it is gone, with the Jobs that it alone owned."""
        body = self.api.get(DISTILLATIONS, self.namespace, name)
        if body is None:
            return
        self.api.delete(DISTILLATIONS, self.namespace, name, foreground=False)
        uid = body["metadata"]["uid"]
        self.until(
            lambda: (
                self.api.get(DISTILLATIONS, self.namespace, name) is None
                and not any(owners_of(job) == [uid] for job in self.api.list(JOBS, self.namespace))
            ),
            what=f"{name} is gone with its Jobs",
            seconds=seconds,
        )

    @contextmanager
    def distilling(self, name: str, spec: Json) -> Iterator[str]:
        """Submits it, and deletes it in the end; its name."""
        self.submit(name, spec)
        try:
            yield name
        finally:
            self.delete(name)

    # What it is made of.

    def until(self, what_is: Callable[[], object], *, what: str, seconds: float = 120) -> None:
        """Waits; fails with `what` was waited for."""
        deadline = time.monotonic() + seconds
        while not what_is():
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
            time.sleep(0.5)

    def job(self, name: str, step: str) -> Json:
        """The Job of a step."""
        found = self.api.get(JOBS, self.namespace, step_of(self.status(name), step)["job"])
        assert found is not None, f"{name} has no Job for {step}\n{self.story(name)}"
        return found

    def job_now(self, job: Json) -> Json:
        """The same Job, as it is now."""
        found = self.api.get(JOBS, self.namespace, job["metadata"]["name"])
        assert found is not None, f"Job {job['metadata']['name']} is gone"
        return found

    def pods(self, **labels: str) -> list[Json]:
        """Oldest first."""
        selector = ",".join(f"{label}={value}" for label, value in labels.items())
        found = self.api.list(PODS, self.namespace, labels=selector)
        return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def pods_of(self, job: Json) -> list[Json]:
        """Of a Job, oldest first."""
        return self.pods(**{"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]})

    def events(self, name: str) -> list[tuple[str, str, int]]:
        """Of a Distillation: reason, message, count."""
        return [
            (event["reason"], event["message"], event.get("count", 1))
            for event in self.api.list(EVENTS, self.namespace)
            if (event["involvedObject"]["kind"], event["involvedObject"].get("name")) == ("Distillation", name)
        ]

    def scale(self, deployment: str, replicas: int) -> None:
        """Waits until it has as many pods."""
        self.api.patch(DEPLOYMENTS, self.namespace, deployment, {"spec": {"replicas": replicas}})
        self.run("kubectl", "rollout", "status", f"deployment/{deployment}", "--timeout=120s")
        component = deployment.removeprefix("stillhouse-")
        self.until(
            lambda: len(self.pods(**{"app.kubernetes.io/component": component})) == replicas,
            what=f"{replicas} pods of {deployment}",
        )

    @contextmanager
    def without_controller(self) -> Iterator[None]:
        """Nobody carries anything on but the test itself."""
        self.scale(CONTROLLER, 0)
        try:
            yield
        finally:
            self.scale(CONTROLLER, 1)

    def in_store(self, program: str) -> str:
        """What a line of Python about `store` prints, run beside the controller, which has the keys."""
        command = (
            "exec",
            f"deployment/{CONTROLLER}",
            "--",
            "python",
            "-c",
            _OPEN_STORE.format(uri=self.store) + program,
        )
        return self.run("kubectl", *command).strip()

    def story(self, name: str) -> str:
        """All there is to know of a Distillation, for a person."""
        parts = [yaml.safe_dump(self.status(name), sort_keys=False)]
        for command in (
            ("get", "jobs,pods", "--output", "wide"),
            ("get", "events", "--sort-by=.lastTimestamp"),
            ("logs", f"deployment/{CONTROLLER}", "--tail=25"),
        ):
            with suppress(AssertionError, subprocess.SubprocessError):
                parts.append(self.run("kubectl", *command, seconds=30)[-4000:])
        return "\n".join(parts)

    def clear(self) -> None:
        """Deletes every Distillation while there is a controller to let them go."""
        for name in dict.fromkeys(self._names):
            with suppress(AssertionError, StillhouseError):
                self.delete(name, seconds=60)


@contextmanager
def installed() -> Iterator[Installation]:
    """The chart in a fresh namespace, its store and its emulator; the resource must be there. Removes it all again."""
    if shutil.which("helm") is None or shutil.which("kubectl") is None:
        pytest.skip("helm and kubectl are not both on the PATH")
    with config.new_client_from_config() as connection:
        core = client.CoreV1Api(connection)
        namespace = f"stillhouse-logic-{secrets.token_hex(4)}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted", "app.kubernetes.io/part-of": "stillhouse-test"}
        core.create_namespace({"metadata": {"name": namespace, "labels": labels}})
        installation = Installation(namespace, KubernetesApi.connect(), core)
        try:
            _install(installation)
            yield installation
            installation.clear()
            installation.in_store("[store.objects.delete(path) for path in store.list_objects('')]")
        finally:
            _remove(installation)


def _install(installation: Installation) -> None:
    values = {
        "crd": {"install": False},
        "image": {
            "prefix": os.environ.get("IMAGE_PREFIX", "ghcr.io/stillhouse"),
            "tag": os.environ.get("IMAGE_TAG", "dev"),
        },
        "store": {"development": {"enabled": True, "bucket": installation.namespace}},
        "emulator": {"enabled": True},
        "queue": {"enabled": True},
        "services": {"scorer": {"enabled": False}},
    }
    installation.run(
        "helm", "install", "stillhouse", str(CHART), "--values", "-", "--wait", "--timeout", "4m",
        given=json.dumps(values),
    )  # fmt: skip


def _remove(installation: Installation) -> None:
    """The namespace, and what a volume that is retained says of it."""
    core, namespace = installation.core, installation.namespace
    for body in installation.api.list(DISTILLATIONS, namespace):
        if body["metadata"].get("finalizers"):
            installation.api.patch(
                DISTILLATIONS, namespace, body["metadata"]["name"], {"metadata": {"finalizers": None}}
            )
    core.delete_namespace(namespace)
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        with suppress(client.ApiException):
            if not core.list_namespace(field_selector=f"metadata.name={namespace}").items:
                break
        time.sleep(1)
    for volume in core.list_persistent_volume().items:
        claim = volume.spec.claim_ref
        if claim is not None and claim.namespace == namespace and volume.status.phase == "Released":
            # A retained volume waits for a person; this one held nothing but a test's artifacts.
            core.patch_persistent_volume(
                volume.metadata.name,
                [{"op": "remove", "path": "/spec/claimRef"}],
                _content_type="application/json-patch+json",
            )
