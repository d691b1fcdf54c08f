"""Who waits for what: quota in a queue of Kueue's, and GPUs on nodes.

What is about queues skips where Kueue is not installed. A node's GPUs are an extended resource that the test itself
puts onto a node, so that Jobs are scheduled by it; there is none behind it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client

from cluster_distillations import condition_of, rows, step_of, tiny
from cluster_installation import KUEUE_GROUP, Installation

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

GPU = "nvidia.com/gpu"
QUEUE = "one-at-a-time"
LONG_TRAINING = {"training": {"epochs": 100, "maxSteps": None, "batchSize": 1}}


@pytest.fixture(scope="module")
def queue(installation: Installation) -> Iterator[str]:
    """A LocalQueue with quota for one pod."""
    groups = {group.name: group for group in client.ApisApi(installation.core.api_client).get_api_versions().groups}
    if KUEUE_GROUP not in groups:
        pytest.skip("Kueue is not installed in this cluster")
    version = groups[KUEUE_GROUP].preferred_version.group_version
    shared = f"stillhouse-{installation.namespace}"
    quota = {"name": shared, "resources": [{"name": "pods", "nominalQuota": 1}]}
    cluster_queue = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": installation.namespace}},
        "resourceGroups": [{"coveredResources": ["pods"], "flavors": [quota]}],
    }
    objects = [
        {"kind": "ResourceFlavor", "metadata": {"name": shared}},
        {"kind": "ClusterQueue", "metadata": {"name": shared}, "spec": cluster_queue},
        {"kind": "LocalQueue", "metadata": {"name": QUEUE}, "spec": {"clusterQueue": shared}},
    ]
    document = "\n---\n".join(json.dumps({"apiVersion": version, **body}) for body in objects)
    installation.run("kubectl", "apply", "--filename", "-", given=document)
    try:
        yield QUEUE
    finally:
        installation.clear()
        for kind, name in (("localqueue", QUEUE), ("clusterqueue", shared), ("resourceflavor", shared)):
            installation.run("kubectl", "delete", f"{kind}.{KUEUE_GROUP}", name, "--wait=false")


def test_who_comes_second_waits_for_the_queue_and_runs_once_there_is_quota(
    installation: Installation, queue: str
) -> None:
    first = tiny(queue=queue, dataset=rows(seed=41), student=LONG_TRAINING)
    with (
        installation.distilling("first-in-queue", first),
        installation.distilling("second-in-queue", tiny(queue=queue, dataset=rows(seed=42), suspend=True)),
    ):
        installation.wait_for_step("first-in-queue", "train", "running")
        installation.change("second-in-queue", suspend=False)
        said = f"waiting in queue {queue}: "
        status = installation.wait(
            "second-in-queue", lambda status: said in status["message"], what=f"saying: {said}", seconds=60
        )
        assert status["stage"] == "queued"
        assert step_of(status, "dataset")["state"] == "queued"
        assert "insufficient unused quota" in step_of(status, "dataset")["message"]
        assert condition_of(status, "DatasetReady") == ("False", "Queued")
        assert condition_of(status, "Succeeded") == ("Unknown", "Running")
        told = [message for reason, message, _ in installation.events("second-in-queue") if reason == "StepQueued"]
        assert told[0].startswith(f"dataset: waiting in queue {queue}")
        installation.change("first-in-queue", suspend=True)
        installation.wait("first-in-queue", lambda status: status["stage"] == "Suspended", what="suspended")
        installation.wait_for_step("second-in-queue", "dataset", "done")
        installation.change("second-in-queue", suspend=True)
        installation.wait("second-in-queue", lambda status: status["stage"] == "Suspended", what="suspended")
        installation.change("first-in-queue", suspend=False)
        installation.wait_for_step("first-in-queue", "train", "running")


def test_a_queue_that_is_not_there_is_named(installation: Installation, queue: str) -> None:
    with installation.distilling("lost", tiny(queue="nowhere", dataset=rows(seed=43))):
        said = "waiting in queue nowhere"
        installation.wait("lost", lambda status: said in status["message"], what=f"saying: {said}", seconds=60)
        installation.wait(
            "lost",
            lambda status: "doesn't exist" in status["message"],
            what="saying that it does not exist",
            seconds=60,
        )
        installation.change("lost", queue=queue)
        installation.wait_for_step("lost", "dataset", "done")


@pytest.fixture(scope="module")
def gpus(installation: Installation) -> Iterator[int]:
    """How many GPUs the node with the most of them says it has; two where there are none."""
    core = installation.core
    found = [int((node.status.allocatable or {}).get(GPU, 0)) for node in core.list_node().items]
    if max(found, default=0) > 0:
        yield max(found)
        return
    node = next(node for node in core.list_node().items if not node.spec.taints)
    path = f"/status/capacity/{GPU.replace('/', '~1')}"
    patch_node(core, node.metadata.name, [{"op": "add", "path": path, "value": "2"}])
    deadline = time.monotonic() + 60
    while GPU not in core.read_node(node.metadata.name).status.allocatable:
        assert time.monotonic() < deadline, "the node does not offer what it was given"
        time.sleep(0.5)
    yield 2
    patch_node(core, node.metadata.name, [{"op": "remove", "path": path}])


def patch_node(core: client.CoreV1Api, name: str, patch: list[Json]) -> None:
    core.patch_node_status(name, patch, _content_type="application/json-patch+json")


def test_a_gpu_that_a_node_has_is_given(installation: Installation, gpus: int) -> None:
    limits = {"dataset": {"limits": {GPU: str(gpus)}}}
    with installation.distilling("with-gpu", tiny(dataset=rows(seed=44), resources=limits)) as name:
        installation.wait_for_step(name, "dataset", "done")
        (pod,) = installation.pods_of(installation.job(name, "dataset"))
        assert pod["spec"]["containers"][0]["resources"]["limits"] == {GPU: str(gpus)}


def test_more_gpus_than_any_node_has_are_reported_as_that(installation: Installation, gpus: int) -> None:
    too_many = {"dataset": {"limits": {GPU: str(gpus + 62)}}}
    with installation.distilling("too-many", tiny(dataset=rows(seed=45), resources=too_many)) as name:
        said = f"Insufficient {GPU}"
        status = installation.wait(name, lambda status: said in status["message"], what=f"saying: {said}", seconds=60)
        step = step_of(status, "dataset")
        assert step["state"] == "pending"
        assert "can't be scheduled" in step["message"]
        assert any(reason == "StepWaits" and said in message for reason, message, _ in installation.events(name))
        installation.change(name, resources={"dataset": {"limits": {GPU: str(gpus)}}})
        installation.wait_for_step(name, "dataset", "done")
