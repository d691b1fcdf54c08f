"""The chart on a real cluster: install, helm test, upgrade, rollback, uninstall, and what stays.

Needs helm and kubectl in PATH and the image stillhouse-slim (IMAGE_PREFIX, IMAGE_TAG) where the cluster finds it.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from rendered_chart import CHART, VALUES_FILES, pod_specs, rendered

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

PREFIX, TAG = os.environ.get("IMAGE_PREFIX", "ghcr.io/stillhouse"), os.environ.get("IMAGE_TAG", "dev")
RELEASE = "charted"
CRD = "distillations.stillhouse.dev"
PATIENCE_SECONDS = 180.0
VALUES = {
    "fullnameOverride": "stillhouse",
    "image": {
        "prefix": os.environ.get("IMAGE_PREFIX", "ghcr.io/stillhouse"),
        "tag": os.environ.get("IMAGE_TAG", "dev"),
    },
    "store": {"development": {"enabled": True}},
    "emulator": {"enabled": True},
}
STORE = "__import__('stillhouse.artifacts.store', fromlist=['Store']).Store.open('s3://stillhouse')"
DISTILLATION = {
    "apiVersion": "stillhouse.dev/v1alpha1",
    "kind": "Distillation",
    "metadata": {"name": "kept"},
    "spec": {
        "role": "product_owner",
        "suspend": True,
        "dataset": {
            "concepts": {"synthesized": {"count": 40}},
            "teacher": {"stages": [{"provider": "emulator", "model": "gemini-2.5-flash", "records": 20}]},
        },
    },
}


@dataclass(frozen=True)
class Place:
    """A namespace of this run's own."""

    namespace: str
    values: Path
    brings_crd: bool

    def run(self, program: str, *arguments: str, given: str | None = None) -> str:
        """What `helm` or `kubectl` prints. Fails with what it says where it fails."""
        done = subprocess.run(
            [program, "--namespace", self.namespace, *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{program} {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def get(self, kind: str, name: str) -> Json | None:
        """The object, or None."""
        text = self.run("kubectl", "get", kind, name, "--ignore-not-found", "--output", "json")
        found: Json | None = json.loads(text) if text.strip() else None
        return found

    def items(self, kind: str, *selection: str) -> list[Json]:
        """Objects of that kind."""
        text = self.run("kubectl", "get", kind, *selection, "--output", "json")
        found: list[Json] = json.loads(text)["items"]
        return found

    def apply(self, body: Json) -> None:
        """Makes or changes it."""
        self.run("kubectl", "apply", "--filename", "-", given=json.dumps(body))

    def install(self, *settings: str) -> None:
        """Installs or upgrades the release and waits until it is ready."""
        over = [part for setting in settings for part in ("--set", setting)]
        try:
            self.run(
                "helm", "upgrade", "--install", RELEASE, str(CHART), "--values", str(self.values), *over,
                "--set", f"crd.install={str(self.brings_crd).lower()}", "--wait", "--timeout", "3m",
            )  # fmt: skip
        except AssertionError as e:  # Helm says what is not ready; the events say why.
            raise AssertionError(f"{self.run('kubectl', 'get', 'pods,events')}\n{e}") from None

    def keys(self) -> Json:
        """The generated keys of the store."""
        secret = self.get("secret", "stillhouse-store")
        assert secret is not None
        data: Json = secret["data"]
        return data


@pytest.fixture(scope="module")
def place(_asked_for: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    values = tmp_path_factory.mktemp("chart") / "values.yaml"
    values.write_text(yaml.safe_dump(VALUES))
    # Where the cluster has the resource already it is someone else's, and the chart is installed as a further release.
    brings_crd = Place("default", values, brings_crd=False).get("crd", CRD) is None
    place = Place(f"chart-{uuid.uuid4().hex[:8]}", values, brings_crd)
    place.run("kubectl", "create", "namespace", place.namespace)
    try:
        place.run("kubectl", "label", "namespace", place.namespace, "pod-security.kubernetes.io/enforce=restricted")
        place.install()
        yield place
    finally:
        place.run("kubectl", "delete", "namespace", place.namespace, "--timeout=3m")
        if place.brings_crd:
            place.run("kubectl", "delete", "crd", CRD, "--ignore-not-found", "--wait=false")
        give_back_volumes(place)


def give_back_volumes(place: Place) -> None:
    """A retained volume waits for a person; this one held nothing but what was deleted again."""
    for volume in place.items("pv"):
        claim = volume["spec"].get("claimRef", {})
        if claim.get("namespace") == place.namespace and volume["status"]["phase"] == "Released":
            unclaimed = '[{"op": "remove", "path": "/spec/claimRef"}]'
            place.run("kubectl", "patch", "pv", volume["metadata"]["name"], "--type=json", "--patch", unclaimed)


def eventually(what: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_SECONDS
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(1)
    return True


def pod_names(place: Place, component: str) -> set[str]:
    pods = place.items("pods", "--selector", f"app.kubernetes.io/component={component}")
    return {pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}


def write_to_store(place: Place, text: str) -> None:
    in_store(place, f"import sys; {STORE}.put_object('kept', sys.argv[1].encode())", text)


def read_from_store(place: Place) -> str:
    return in_store(place, f"print({STORE}.read_object('kept').decode())")


def in_store(place: Place, program: str, *arguments: str) -> str:
    """Runs a line of Python in the controller's pod, which has the store's credentials."""
    command = ("exec", "deployment/stillhouse-controller", "--", "python", "-c", program, *arguments)
    return place.run("kubectl", *command).strip()


def test_what_is_installed_passes_helms_test(place: Place) -> None:
    assert "Succeeded" in place.run("helm", "test", RELEASE, "--timeout", "3m")


def test_the_controller_is_ready_under_its_own_account(place: Place) -> None:
    (controller,) = place.items("pods", "--selector", "app.kubernetes.io/component=controller")
    assert controller["spec"]["serviceAccountName"] == "stillhouse-controller"
    assert all(status["ready"] for status in controller["status"]["containerStatuses"])


@pytest.mark.parametrize("values", VALUES_FILES, ids=lambda path: path.stem)
def test_the_restricted_standard_admits_every_pod(place: Place, values: Path) -> None:
    for number, (title, spec) in enumerate(pod_specs(rendered(values))):
        # Accounts and classes of other installations are not here; the standard does not look at them.
        bare = {key: value for key, value in spec.items() if key not in ("serviceAccountName", "priorityClassName")}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"dry-{number}"}, "spec": bare}
        said = place.run("kubectl", "create", "--dry-run=server", "--filename", "-", given=json.dumps(body))
        assert "created" in said, title


def test_an_upgrade_keeps_keys_and_data_and_restarts_only_what_changed(place: Place) -> None:
    keys, store, controller = place.keys(), pod_names(place, "object-store"), pod_names(place, "controller")
    write_to_store(place, "written before the upgrade")
    place.install("services.scorer.replicas=2", "jobs.perDistillation=2")
    assert place.keys() == keys
    assert pod_names(place, "object-store") == store
    assert not pod_names(place, "controller") & controller  # its settings changed
    assert len(pod_names(place, "scorer")) == 2
    assert read_from_store(place) == "written before the upgrade"


def test_a_rollback_brings_the_earlier_settings_back(place: Place) -> None:
    place.install("services.scorer.replicas=2")
    place.run("helm", "rollback", RELEASE, "1", "--wait", "--timeout", "3m")
    assert eventually(lambda: len(pod_names(place, "scorer")) == 1)
    config = place.get("configmap", "stillhouse-settings")
    assert config is not None
    assert yaml.safe_load(config["data"]["settings.yaml"])["jobsPerDistillation"] == 1


def test_uninstalling_leaves_what_is_the_users_and_installing_again_finds_it(place: Place) -> None:
    keys = place.keys()
    write_to_store(place, "distilled")
    place.apply(DISTILLATION)
    place.apply(student())
    assert eventually(lambda: student_answers(place))
    place.run("helm", "uninstall", RELEASE, "--wait")
    assert eventually(lambda: not pod_names(place, "controller") and not pod_names(place, "scorer"))
    assert place.get("crd", CRD) is not None
    assert place.get("distillation", "kept") is not None
    old = pod_names(place, "student-inference")
    place.run("kubectl", "delete", "pod", *old)
    assert eventually(lambda: student_answers(place) and not pod_names(place, "student-inference") & old)
    place.install()
    assert place.keys() == keys
    assert read_from_store(place) == "distilled"


def student() -> Json:
    """A Deployment as the controller makes it for a student: its account, its store's secret; it only sleeps."""
    labels = {"app.kubernetes.io/name": "stillhouse", "app.kubernetes.io/component": "student-inference"}
    (template,) = [spec for title, spec in pod_specs(rendered(VALUES_FILES[0])) if title.endswith("-scorer")]
    container = {
        "name": "student",
        "image": f"{PREFIX}/stillhouse-slim:{TAG}",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "3600"],
        "envFrom": [{"secretRef": {"name": "stillhouse-store"}}],
        "securityContext": template["containers"][0]["securityContext"],
    }
    pod = {
        "serviceAccountName": "stillhouse-stage",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": template["securityContext"],
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "student"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def student_answers(place: Place) -> bool:
    deployment = place.get("deployment", "student")
    return deployment is not None and deployment["status"].get("readyReplicas", 0) == 1


def test_the_commands_of_the_notes_remove_the_rest(place: Place) -> None:
    in_store(place, f"store = {STORE}; [store.objects.delete(path) for path in store.list_objects('')]")
    notes = place.run("helm", "get", "notes", RELEASE)
    commands = [line.partition("#")[0].split() for line in notes.splitlines() if line.startswith("    kubectl delete")]
    place.run("kubectl", "delete", "deployment", "student", "--ignore-not-found")
    assert [command[2] for command in commands] == [
        "distillations",
        "serviceaccounts,secrets,persistentvolumeclaims",
        "crd",
    ]
    assert commands.pop()[3] == CRD  # of the whole cluster: not for a test
    place.run(*commands[0])
    place.run("helm", "uninstall", RELEASE, "--wait")
    place.run(*commands[1])
    left = [
        f"{entry['kind']}/{entry['metadata']['name']}"
        for entry in place.items("all,pvc,secrets,sa,netpol,roles,rolebindings,configmaps,pdb,distillations")
        if entry["metadata"]["name"] not in ("default", "kube-root-ca.crt")
    ]
    assert eventually(lambda: pod_names(place, "object-store") == set())
    assert [name for name in left if not name.startswith(("Pod/", "ReplicaSet/"))] == []
