"""A student on the cluster: asked from another namespace and by a port-forward, replaced under way, brought back."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cluster_distillations import TAUGHT, condition_of, tiny
from cluster_installation import Installation
from stillhouse.client.student import GenerationOptions, StudentClient
from stillhouse.controller.cluster.api import DEPLOYMENTS, PODS

pytestmark = pytest.mark.cluster

STUDENT = "adviser"
CALLS_BEFORE, CALLS_AFTER = 5, 20
CALLER = """
import sys
from stillhouse.client.student import GenerationOptions, StudentAnswer, StudentClient

with StudentClient(sys.argv[1]) as student:
    for number in range(100_000):
        options = GenerationOptions(max_tokens=64, temperature=1.0, seed=number)
        try:
            *pieces, answer = student.stream("Once upon a time", options)
            assert isinstance(answer, StudentAnswer) and pieces
            print("answered by", answer.model_sha256[:12], flush=True)
        except Exception as exc:
            print("FAILED", type(exc).__name__, exc, flush=True)
"""


@pytest.fixture(scope="module")
def first(installation: Installation) -> Iterator[str]:
    """The digest of a served student's model."""
    spec = tiny(dataset=TAUGHT | {"imports": None}, serve={"policy": "Always", "name": STUDENT})
    with installation.distilling("first", spec):
        assert installation.wait_for_end("first")["stage"] == "Succeeded", installation.story("first")
        yield _served(installation, "first")


def test_a_second_distillation_takes_over_while_a_client_streams_from_another_namespace(
    installation: Installation, first: str
) -> None:
    """The second trains one step more on the same data; the first's pin then brings its model back."""
    with _calling(installation, f"{STUDENT}.{installation.namespace}.svc:50051") as (namespace, pod):
        installation.until(lambda: _answers(installation, namespace, pod).count(first) >= CALLS_BEFORE, what="answers")
        spec = tiny(
            dataset=TAUGHT | {"imports": None},
            student={"training": {"maxSteps": 3}},
            serve={"policy": "Always", "name": STUDENT},
        )
        with installation.distilling("second", spec):
            assert installation.wait_for_end("second")["stage"] == "Succeeded", installation.story("second")
            second = _served(installation, "second")
            assert second != first
            assert condition_of(installation.status("first"), "Serving") == ("False", "Superseded")
            installation.until(
                lambda: _answers(installation, namespace, pod).count(second) >= CALLS_AFTER, what="change"
            )

            model = installation.status("first")["modelSha256"]
            installation.change("first", serve={"policy": "Always", "name": STUDENT, "pin": f"sha256:{model}"})
            assert _served(installation, "first") == first
            before = len(_answers(installation, namespace, pod))
            installation.until(
                lambda: _answers(installation, namespace, pod)[before:].count(first) >= CALLS_AFTER,
                what="the pinned one",
            )
            assert condition_of(installation.status("second"), "Serving") == ("False", "Pinned")
        assert _failures(installation, namespace, pod) == []


def test_a_client_reaches_it_through_a_port_forward(installation: Installation, first: str) -> None:
    command = ["kubectl", "-n", installation.namespace, "port-forward", f"service/{STUDENT}", ":50051"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout is not None
            port = re.search(r"127\.0\.0\.1:(\d+)", forward.stdout.readline())
            assert port is not None
            with StudentClient(f"127.0.0.1:{port[1]}") as student:
                answer = student.generate("Once upon a time", GenerationOptions(max_tokens=8))
            assert answer.model_sha256.startswith(first)
            assert answer.completion_tokens > 0
        finally:
            forward.kill()


def test_kubectl_tells_the_story_in_columns(installation: Installation, first: str) -> None:
    head, line = installation.run("kubectl", "get", "distillation", "first").splitlines()
    assert head.split() == ["NAME", "STAGE", "RECORDS", "SCORE", "GAP", "SERVING", "AGE"]
    assert line.split()[:3] == ["first", "Succeeded", "24"]
    described = installation.run("kubectl", "describe", "distillation", "first")
    for reason in ("StepStarted", "StepDone", "Served"):
        assert reason in described
    assert first in installation.run("kubectl", "get", "deployment", STUDENT, "--output", "yaml")


def _served(installation: Installation, name: str) -> str:
    """Waits until that Distillation's model answers; the beginning of its digest."""
    status = installation.wait(
        name, lambda status: condition_of(status, "Serving")[0] == "True", what="served", seconds=240
    )
    assert status["serving"] == "yes"
    deployment = installation.api.get(DEPLOYMENTS, installation.namespace, STUDENT)
    assert deployment is not None
    model: str = status["modelSha256"]
    assert deployment["metadata"]["annotations"]["stillhouse.dev/model"] == model
    return model[:12]


@contextmanager
def _calling(installation: Installation, address: str) -> Iterator[tuple[str, str]]:
    """A pod in a namespace of its own that asks the student without a pause; namespace and name."""
    namespace = f"stillhouse-caller-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "app.kubernetes.io/part-of": "stillhouse-test"}
    installation.core.create_namespace({"metadata": {"name": namespace, "labels": labels}})
    image = (
        f"{os.environ.get('IMAGE_PREFIX', 'ghcr.io/stillhouse')}/stillhouse-slim:{os.environ.get('IMAGE_TAG', 'dev')}"
    )
    container = {
        "name": "caller",
        "image": image,
        "command": ["python", "-c", CALLER, address],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    security = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spec = {"containers": [container], "restartPolicy": "Never", "securityContext": security}
    try:
        installation.api.create(PODS, namespace, {"metadata": {"name": "caller"}, "spec": spec})
        yield namespace, "caller"
    finally:
        installation.core.delete_namespace(namespace)


def _log(installation: Installation, namespace: str, pod: str) -> list[str]:
    # `installation.run` is for its own namespace: the later flag wins.
    return installation.run("kubectl", "logs", "--namespace", namespace, f"pod/{pod}").splitlines()


def _answers(installation: Installation, namespace: str, pod: str) -> list[str]:
    """Which model answered each call."""
    body = installation.api.get(PODS, namespace, pod)
    if body is None or body.get("status", {}).get("phase") == "Pending":
        return []
    return re.findall(r"answered by (\w+)", "\n".join(_log(installation, namespace, pod)))


def _failures(installation: Installation, namespace: str, pod: str) -> list[str]:
    return [line for line in _log(installation, namespace, pod) if line.startswith("FAILED")]
