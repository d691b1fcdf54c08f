"""The controller dies: at random moments as a pod, and in this process behind every single write to the API server.

Whatever happens, every Job is made once, nothing is done twice and the end is that of an undisturbed run.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from cluster_distillations import ENDED, TAUGHT, condition_of, tiny
from cluster_installation import CONTROLLER, Installation
from stillhouse.artifacts.store import Store
from stillhouse.cli.cluster import Cluster
from stillhouse.cli.cluster_store import opened_store
from stillhouse.controller.cluster.api import CONFIG_MAPS, DEPLOYMENTS, EVENTS, JOBS, Kind, KubernetesApi
from stillhouse.controller.cluster.reconcile import Reconciler
from stillhouse.controller.cluster.settings import Settings

pytestmark = pytest.mark.cluster

Json = dict[str, Any]
STEPS = ["generate", "dataset", "base", "train", "export", "evaluate"]


def taught(seed: int, **changes: Any) -> Json:
    """A whole distillation that is served, with a data set of its own."""
    dataset = TAUGHT | {"concepts": {"synthesized": {"count": 60, "seed": seed}}, "imports": None}
    return tiny(dataset=dataset, serve={"policy": "Always"}, **changes)


def made_jobs(installation: Installation, names: list[str]) -> dict[str, tuple[int, int]]:
    """How many Jobs of each name were ever made, and how many pods, as the Job controller told it."""
    uids: dict[str, set[str]] = {name: set() for name in names}
    pods: Counter[str] = Counter()
    for event in installation.api.list(EVENTS, installation.namespace):
        regarding = event["involvedObject"]
        if (regarding["kind"], event["reason"]) == ("Job", "SuccessfulCreate") and regarding["name"] in uids:
            uids[regarding["name"]].add(regarding["uid"])
            pods[regarding["name"]] += int(event.get("count") or 1)
    return {name: (len(uids[name]), pods[name]) for name in names}


def is_right(installation: Installation, name: str, *, known: set[str]) -> None:
    """The end of a run is that of an undisturbed one; `known` are Jobs that others made before it."""
    status = installation.wait(name, lambda status: status.get("serving") == "yes", what="served")
    assert status["stage"] == "Succeeded", installation.story(name)
    assert [(step["name"], step["state"]) for step in status["steps"]] == [(step, "done") for step in STEPS]
    assert status["records"] == 24
    assert condition_of(status, "Serving")[0] == "True"
    own = [step["job"] for step in status["steps"] if "job" in step and step["job"] not in known]
    assert len(own) >= len(STEPS) - 1
    assert made_jobs(installation, own) == dict.fromkeys(own, (1, 1)), installation.story(name)
    deployment = installation.api.get(DEPLOYMENTS, installation.namespace, name)
    assert deployment is not None
    assert deployment["metadata"]["generation"] == 1
    told = Counter((reason, message) for reason, message, _ in installation.events(name))
    assert set(told.values()) == {1}, told
    assert {message for reason, message in told if reason == "StepDone"} == set(STEPS)
    assert all(count == 1 for _, _, count in installation.events(name))


def finds_all_done(installation: Installation, name: str, spec: Json) -> None:
    """Another Distillation of the same spec has nothing left to do: everything that the first one made is there."""
    model = installation.status(name)["modelSha256"]
    jobs = {job["metadata"]["uid"] for job in installation.api.list(JOBS, installation.namespace)}
    with installation.distilling(f"{name}-again", {**spec, "serve": {"policy": "Never"}}) as again:
        assert installation.wait_for_end(again, seconds=60)["modelSha256"] == model
        assert {job["metadata"]["uid"] for job in installation.api.list(JOBS, installation.namespace)} <= jobs


def kill_controller(installation: Installation) -> int:
    """At once, without asking; how many there were, which is none while the next one is not made yet."""
    pods = installation.pods(**{"app.kubernetes.io/component": "controller"})
    for pod in pods:
        try:
            installation.core.delete_namespaced_pod(
                pod["metadata"]["name"], installation.namespace, grace_period_seconds=0
            )
        except client.ApiException as exc:
            if exc.status != 404:
                raise
    return len(pods)


def survives(installation: Installation, *, kills: int, longest_pause: float, seed: int) -> None:
    """One run, with that many kills at random moments of it."""
    chance, name, spec = random.Random(seed), f"killed-{seed}", taught(seed)
    known = {job["metadata"]["name"] for job in installation.api.list(JOBS, installation.namespace)}
    with installation.distilling(name, spec):
        killed = 0
        while killed < kills:
            time.sleep(chance.uniform(0, longest_pause))
            assert installation.status(name).get("stage") not in ENDED, f"over after {killed} kills (seed {seed})"
            killed += kill_controller(installation) > 0
        installation.wait_for_end(name)
        is_right(installation, name, known=known)
        finds_all_done(installation, name, spec)


def test_a_controller_killed_four_times_at_random_moments_of_a_run(installation: Installation) -> None:
    survives(installation, kills=4, longest_pause=12, seed=101)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [201, 202, 203])
def test_a_controller_killed_twenty_times_at_random_moments_of_a_run(installation: Installation, seed: int) -> None:
    survives(installation, kills=20, longest_pause=4, seed=seed)


class Killed(BaseException):
    """The controller died behind a write."""


class DyingApi(KubernetesApi):
    """Every write is the last thing that it does."""

    def create(self, kind: Kind, namespace: str, body: Json) -> Json:
        super().create(kind, namespace, body)
        raise Killed(f"create {kind.name}")

    def apply(self, kind: Kind, namespace: str, body: Json, **options: Any) -> Json:
        super().apply(kind, namespace, body, **options)
        raise Killed(f"apply {kind.name}")

    def patch(self, kind: Kind, namespace: str, name: str, body: Json) -> Json:
        super().patch(kind, namespace, name, body)
        raise Killed(f"patch {kind.name}")

    def replace_status(self, kind: Kind, namespace: str, body: Json) -> Json:
        super().replace_status(kind, namespace, body)
        raise Killed("status")

    def delete(self, kind: Kind, namespace: str, name: str, **options: Any) -> None:
        super().delete(kind, namespace, name, **options)
        raise Killed(f"delete {kind.name}")


@contextmanager
def connected_as_controller(installation: Installation) -> Iterator[client.ApiClient]:
    """With the rights of its service account and no others."""
    with config.new_client_from_config() as connection:
        account = f"system:serviceaccount:{installation.namespace}:{CONTROLLER}"
        connection.set_default_header("Impersonate-User", account)
        yield connection


def settings_of(installation: Installation) -> Settings:
    found = installation.api.get(CONFIG_MAPS, installation.namespace, "stillhouse-settings")
    assert found is not None
    return Settings.model_validate(yaml.safe_load(found["data"]["settings.yaml"]))


def carry_on_through_deaths(installation: Installation, name: str, connection: client.ApiClient) -> Counter[str]:
    """To the end, served: a new controller after each death; what they died of."""
    settings, deaths = settings_of(installation), Counter[str]()
    deadline = time.monotonic() + 600
    with opened_store(Cluster(installation.api, installation.namespace), settings.store) as store:
        while time.monotonic() < deadline:
            opened: Store = store
            controller = Reconciler(DyingApi(connection), settings, open_store=lambda _uri, opened=opened: opened)
            try:
                controller.reconcile(installation.namespace, name)
            except Killed as exc:
                deaths[str(exc)] += 1
                continue
            status = installation.status(name)
            if status["stage"] in ENDED and status.get("serving") == "yes":
                return deaths
            time.sleep(0.5)
    pytest.fail(f"it never ended; deaths: {deaths}\n{installation.story(name)}", pytrace=False)


def test_a_controller_that_dies_behind_every_single_write_comes_to_the_same_end(installation: Installation) -> None:
    spec, name = taught(102), "dying"
    known = {job["metadata"]["name"] for job in installation.api.list(JOBS, installation.namespace)}
    with installation.without_controller(), connected_as_controller(installation) as connection:
        installation.submit(name, spec)
        deaths = carry_on_through_deaths(installation, name, connection)
    is_right(installation, name, known=known)
    made = deaths["create Job"]
    assert len(STEPS) - 1 <= made <= len(STEPS)
    assert deaths["status"] > 2 * len(STEPS)
    assert deaths["create Event"] == len(installation.events(name))
    assert deaths["apply Deployment"] == 1
    finds_all_done(installation, name, spec)
    installation.delete(name)
