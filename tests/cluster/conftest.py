"""A cluster for the tests that need one: the current KUBECONFIG's, and only where STILLHOUSE_TEST_CLUSTER=1 says so.

They make namespaces, apply the resource, evict pods and patch nodes: never on somebody's cluster by accident.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client, config

from cluster_installation import Installation, installed
from stillhouse.spec.crd import GROUP, PLURAL, VERSION, custom_resource_definition

Json = dict[str, Any]
Kubectl = Callable[..., subprocess.CompletedProcess[str]]

ESTABLISHED_SECONDS = 30


@pytest.fixture(scope="session", autouse=True)
def _asked_for() -> None:
    if os.environ.get("STILLHOUSE_TEST_CLUSTER") != "1" or not os.environ.get("KUBECONFIG"):
        pytest.skip("cluster tests were not asked for: they need KUBECONFIG and STILLHOUSE_TEST_CLUSTER=1")


@pytest.fixture(scope="session")
def cluster(_asked_for: None) -> Iterator[client.ApiClient]:
    """A client of the current context's API server, as whoever KUBECONFIG names."""
    with config.new_client_from_config() as api:
        yield api


@pytest.fixture(scope="session")
def kubectl(_asked_for: None) -> Kubectl:
    """Runs kubectl with arguments and a standard input; its exit status is the caller's to judge."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not on the PATH")

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    return run


@pytest.fixture
def namespace(cluster: client.ApiClient) -> Iterator[str]:
    """A fresh namespace under the restricted Pod Security Standard."""
    core = client.CoreV1Api(cluster)
    name = f"stillhouse-test-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "app.kubernetes.io/part-of": "stillhouse-test"}
    core.create_namespace({"metadata": {"name": name, "labels": labels}})
    yield name
    core.delete_namespace(name)


@pytest.fixture(scope="session")
def crd(cluster: client.ApiClient) -> None:
    """The resource as the models make it; it stays, as it does when the chart is uninstalled."""
    definition = custom_resource_definition()
    name = definition["metadata"]["name"]
    client.ApiextensionsV1Api(cluster).patch_custom_resource_definition(
        name,
        definition,
        field_manager="stillhouse-tests",
        force=True,
        field_validation="Strict",
        _content_type="application/apply-patch+yaml",
    )
    deadline = time.monotonic() + ESTABLISHED_SECONDS
    while not _served(cluster, name):
        assert time.monotonic() < deadline, "the resource is not served"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def installation(crd: None) -> Iterator[Installation]:
    """The chart with a store and an emulated teacher, in a namespace that all tests of the controller share."""
    with installed() as made:
        yield made


def _served(cluster: client.ApiClient, name: str) -> bool:
    found = client.ApiextensionsV1Api(cluster).read_custom_resource_definition(name)
    established = any(c.type == "Established" and c.status == "True" for c in found.status.conditions or [])
    return established and found.spec.versions[0].name == VERSION


class Distillations:
    """The resource in one namespace; answers are what the API server said."""

    def __init__(self, cluster: client.ApiClient, namespace: str) -> None:
        self._api = client.CustomObjectsApi(cluster)
        self._where = {"group": GROUP, "version": VERSION, "namespace": namespace, "plural": PLURAL}

    def create(self, document: Json) -> Json:
        return self._api.create_namespaced_custom_object(**self._where, body=document, field_validation="Strict")

    def problems(self, document: Json) -> str:
        """Why the API server would refuse it; empty if it would not. Nothing is kept."""
        return self._refusal(
            lambda: self._api.create_namespaced_custom_object(
                **self._where, body=document, field_validation="Strict", dry_run="All"
            )
        )

    def problems_of_patch(self, name: str, patch: Json) -> str:
        return self._refusal(
            lambda: self._api.patch_namespaced_custom_object(**self._where, name=name, body=patch, dry_run="All")
        )

    def put_status(self, name: str, status: Json) -> str:
        document = self.get(name) | {"status": status}
        return self._refusal(
            lambda: self._api.replace_namespaced_custom_object_status(
                **self._where, name=name, body=document, field_validation="Strict"
            )
        )

    def get(self, name: str) -> Json:
        return self._api.get_namespaced_custom_object(**self._where, name=name)

    @staticmethod
    def _refusal(call: Callable[[], object]) -> str:
        try:
            call()
        except client.ApiException as exc:
            if exc.status not in (400, 422):
                raise
            return str(json.loads(exc.body)["message"])
        return ""


@pytest.fixture
def distillations(crd: None, cluster: client.ApiClient, namespace: str) -> Distillations:
    """Distillations in a namespace of the test's own."""
    return Distillations(cluster, namespace)
