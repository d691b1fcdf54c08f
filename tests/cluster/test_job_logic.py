"""What becomes of Jobs on the real controllers and the real kubelet, with pods that really run.

Tests of one Distillation that trains for long share it; each leaves it training. All others end early.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cluster_distillations import TINY, condition_of, owners_of, rows, step_of, tiny
from cluster_installation import OBJECT_STORE, Installation
from stillhouse.controller.cluster.api import JOBS

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

NOWHERE = {"dataset": {"nodeSelector": {"stillhouse.dev/test": "nowhere"}}}
"""A pod that is never scheduled."""
LONG = "long"


def training(epochs: int) -> Json:
    return {"training": {"epochs": epochs, "maxSteps": None, "batchSize": 1, "microBatchSize": 1}}


@pytest.fixture(scope="module")
def long(installation: Installation) -> Iterator[str]:
    """A Distillation whose training takes longer than all tests of it."""
    with installation.distilling(LONG, tiny(student=training(epochs=100))):
        yield LONG


def steps_done(status: Json) -> int:
    done: int = step_of(status, "train").get("progress", {}).get("done", 0)
    return done


def trains(installation: Installation, name: str = LONG, *, more_than: int = 2) -> Json:
    """Waits until the training's pod runs and has come some steps further; its Job."""
    installation.wait(
        name,
        lambda status: step_of(status, "train").get("state") == "running" and steps_done(status) > more_than,
        what=f"in training beyond step {more_than}",
    )
    return installation.job(name, "train")


def first_step_of(installation: Installation, pod: Json) -> int:
    """The first step of the training that the pod reported: above one, it did not begin anew."""
    log = installation.run("kubectl", "logs", pod["metadata"]["name"], "--container", "stage")
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return next((line["done"] for line in lines if line.get("unit") == "steps" and line["done"]), 0)


def resumes(installation: Installation, name: str = LONG) -> Json:
    """Waits until the training's newest pod has gone on where the one before stopped; its Job."""

    def goes_on() -> bool:
        job = installation.api.get(JOBS, installation.namespace, installation.job(name, "train")["metadata"]["name"])
        pods = installation.pods_of(job) if job is not None else []
        running = [pod for pod in pods if pod["status"].get("phase") == "Running"]
        return bool(running) and first_step_of(installation, running[-1]) > 1

    installation.wait_for_step(name, "train", "running")
    installation.until(goes_on, what="the training goes on where it stopped", seconds=90)
    return installation.job(name, "train")


def test_too_few_records_are_told_once_and_not_tried_again(installation: Installation) -> None:
    with installation.distilling("few", tiny(dataset=rows(seed=21, count=4))) as name:
        status = installation.wait_for_end(name, seconds=90)
        assert condition_of(status, "Succeeded") == ("False", "Failed")
        assert condition_of(status, "DatasetReady") == ("False", "Failed")
        assert "fewer than" in status["message"]
        job = installation.job(name, "dataset")
        assert len(installation.pods_of(job)) == 1
        assert f"delete job {job['metadata']['name']}" in status["message"]
        told = [event for event in installation.events(name) if event[0] == "StepFailed"]
        assert [(reason, count) for reason, _, count in told] == [("StepFailed", 1)]
        installation.change(name, dataset={"imports": [{"synthesized": {"count": 24, "seed": 21}}]})
        installation.wait_for_step(name, "dataset", "done")


def test_two_that_want_one_data_set_own_one_job_and_who_goes_leaves_it_to_the_other(
    installation: Installation,
) -> None:
    shared = rows(seed=22)
    with (
        installation.distilling("one", tiny(dataset=shared, resources=NOWHERE)),
        installation.distilling("other", tiny(dataset=shared, resources=NOWHERE, student=training(epochs=2))),
    ):
        step = installation.wait_for_step("one", "dataset", "pending")
        installation.wait_for_step("other", "dataset", "pending")
        assert "can't be scheduled" in step["message"]
        job = installation.job("other", "dataset")
        assert job["metadata"]["name"] == step["job"]
        uids = [installation.distillation(name)["metadata"]["uid"] for name in ("one", "other")]
        assert sorted(owners_of(job)) == sorted(uids)
        installation.delete("one")
        installation.until(lambda: owners_of(installation.job("other", "dataset")) == uids[1:], what="one owner left")
        assert installation.job("other", "dataset")["metadata"]["uid"] == job["metadata"]["uid"]
        installation.change("other", resources=None)
        installation.wait_for_step("other", "dataset", "done")


def test_an_image_that_is_not_there_is_named_and_another_one_goes_on(installation: Installation) -> None:
    image = "registry.invalid/stillhouse:missing"
    patch = json.dumps({"containers": [{"name": "stage", "image": image}]})
    missing = {"dataset": {"podPatch": patch}}
    with installation.distilling("imageless", tiny(dataset=rows(seed=23), resources=missing)) as name:
        said = f"image {image} can't be had"
        status = installation.wait(
            name, lambda status: said in step_of(status, "dataset").get("message", ""), what=f"saying: {said}"
        )
        assert said in status["message"]
        assert step_of(status, "dataset")["state"] == "pending"
        waits = [message for reason, message, _ in installation.events(name) if reason == "StepWaits"]
        assert any(said in message for message in waits)
        installation.change(name, resources=None)
        installation.wait_for_step(name, "dataset", "done")


def test_artifacts_go_along_where_that_is_wanted_but_for_what_another_uses(installation: Installation) -> None:
    shared = rows(seed=24)
    with installation.distilling("stays", tiny(dataset=shared)):
        installation.wait_for_step("stays", "dataset", "done")
        kept = step_of(installation.status("stays"), "dataset")["key"]
        installation.change("stays", suspend=True)
        own = tiny(dataset={**shared, "minRecords": 12}, deletionPolicy="Delete")
        installation.submit("goes", own)
        installation.wait_for_step("goes", "dataset", "done")
        gone = step_of(installation.status("goes"), "dataset")["key"]
        installation.delete("goes")
        left = installation.in_store("print(*store.list_objects('stages/dataset'))")
        assert kept in left
        assert gone not in left
        read = f"print(store.read_manifest('dataset', '{kept}').key); print(*store.list_objects('runs'))"
        manifest, runs = installation.in_store(read).splitlines()
        assert manifest == kept
        assert "goes" not in runs


def test_an_evicted_training_goes_on_where_it_was_and_counts_no_attempt(installation: Installation, long: str) -> None:
    job = trains(installation)
    (pod,) = installation.pods_of(job)
    installation.core.create_namespaced_pod_eviction(
        pod["metadata"]["name"], installation.namespace, {"metadata": {"name": pod["metadata"]["name"]}}
    )
    installation.until(
        lambda: [found for found in installation.pods_of(job) if found["metadata"]["uid"] != pod["metadata"]["uid"]],
        what="another pod",
    )
    after = resumes(installation)
    assert after["metadata"]["uid"] == job["metadata"]["uid"]
    assert "failed" not in after["status"]
    assert "attempt" not in step_of(installation.status(long), "train").get("message", "")


def test_a_job_that_somebody_deletes_is_made_again_and_goes_on(installation: Installation, long: str) -> None:
    job = trains(installation)
    installation.run("kubectl", "delete", "job", job["metadata"]["name"], "--wait=false")
    installation.until(
        lambda: (
            (found := installation.api.get(JOBS, installation.namespace, job["metadata"]["name"])) is not None
            and found["metadata"]["uid"] != job["metadata"]["uid"]
        ),
        what="another Job of that name",
    )
    resumes(installation)


def test_suspending_stops_the_training_and_resuming_goes_on(installation: Installation, long: str) -> None:
    job = trains(installation)
    installation.change(long, suspend=True)
    status = installation.wait(long, lambda status: status["stage"] == "Suspended", what="suspended")
    assert condition_of(status, "Suspended") == ("True", "Requested")
    assert installation.api.get(JOBS, installation.namespace, job["metadata"]["name"]) is None
    assert not [pod for pod in installation.pods(**{"stillhouse.dev/stage": "train"}) if owned_by(pod, job)]
    installation.change(long, suspend=False)
    resumes(installation)
    assert condition_of(installation.status(long), "Suspended") == ("False", "NotRequested")


def owned_by(pod: Json, job: Json) -> bool:
    return job["metadata"]["uid"] in owners_of(pod)


def test_a_deadline_ends_the_training_and_a_later_one_goes_on(installation: Installation, long: str) -> None:
    restart(installation, long, deadlineSeconds=8)
    status = installation.wait_for_end(long)
    assert "did not end within 8 s: raise spec.resources.train.deadlineSeconds" in status["message"]
    installation.change(long, resources={"train": {"deadlineSeconds": 3600}})
    job = resumes(installation)
    assert job["spec"]["activeDeadlineSeconds"] == 3600


def test_out_of_memory_names_the_limit_and_a_higher_one_goes_on(installation: Installation, long: str) -> None:
    restart(installation, long, limits={"memory": "150Mi"})
    said = "out of memory (limit 150Mi): raise spec.resources.train.limits.memory"
    status = installation.wait(
        long, lambda status: said in step_of(status, "train").get("message", ""), what=f"saying: {said}"
    )
    assert "attempt 2 of 5" in status["message"]
    installation.change(long, resources={"train": {"limits": {"memory": "4Gi"}}})
    resumes(installation)


def restart(installation: Installation, name: str, **resources: Any) -> None:
    """What a pod may use is its Job's: a running one is stopped for it."""
    installation.change(name, suspend=True)
    installation.wait(name, lambda status: status["stage"] == "Suspended", what="suspended")
    installation.change(name, suspend=False, resources={"train": resources})


def test_a_store_that_is_gone_for_a_minute_costs_who_begins_an_attempt_and_who_works_nothing(
    installation: Installation, long: str
) -> None:
    training_job = trains(installation)
    done = steps_done(installation.status(long))
    with installation.distilling("unlucky", tiny(dataset=rows(seed=25), resources=NOWHERE)) as name:
        installation.wait_for_step(name, "dataset", "pending")
        job = installation.job(name, "dataset")
        with labelled_node(installation, job["spec"]["template"]["spec"]["nodeSelector"]):
            installation.scale(OBJECT_STORE, 0)
            try:
                installation.until(
                    lambda: installation.job_now(job).get("status", {}).get("failed", 0),
                    what="a stage that finds no store gives up",
                )
            finally:
                installation.scale(OBJECT_STORE, 1)
            ended = installation.pods_of(job)[0]["status"]["containerStatuses"][0]["state"]["terminated"]
            assert ended["exitCode"] == 75
            installation.wait_for_step(name, "dataset", "done")
        assert installation.job_now(job)["metadata"]["uid"] == job["metadata"]["uid"]
        assert installation.job_now(job)["status"]["failed"] == 1
    installation.wait(long, lambda status: steps_done(status) > done, what=f"beyond step {done}")
    assert "failed" not in installation.job_now(training_job)["status"]


@contextmanager
def labelled_node(installation: Installation, labels: dict[str, str]) -> Iterator[None]:
    """Pods that wait for a node with these labels find one, while the block lasts."""
    node = next(node for node in installation.core.list_node().items if not node.spec.taints).metadata.name
    installation.core.patch_node(node, {"metadata": {"labels": labels}})
    try:
        yield
    finally:
        installation.core.patch_node(node, {"metadata": {"labels": dict.fromkeys(labels)}})


def test_what_was_made_before_all_that_is_still_there(installation: Installation, long: str) -> None:
    status = installation.status(long)
    assert [step["name"] for step in status["steps"] if step["state"] == "done"] == ["dataset", "base"]
    assert TINY["dataset"] == installation.distillation(long)["spec"]["dataset"]
