"""The reconciler against a cluster in memory: one Job a step, nothing twice, nothing lost, whenever it dies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fake_cluster import NAMESPACE, Killed
from planned_world import ALL_STEPS
from reconciled_scene import Scene, conditions_of, events_of
from stillhouse.controller.cluster.api import DEPLOYMENTS, DISTILLATIONS, JOBS


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_every_step_is_one_job_after_the_other(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    assert scene.run() == ["dataset", "base", "train", "export", "export", "evaluate", "evaluate"]
    status = scene.cluster.status("first")
    assert [step["name"] for step in status["steps"]] == ALL_STEPS
    assert {step["state"] for step in status["steps"]} == {"done"}
    assert conditions_of(status)["Succeeded"] == ("True", "Succeeded")
    assert len(scene.cluster.jobs()) == len(ALL_STEPS)
    assert all(job["spec"]["ttlSecondsAfterFinished"] for job in scene.cluster.jobs())


def test_a_controller_killed_behind_every_single_write_loses_nothing_and_does_nothing_twice(tmp_path: Path) -> None:
    undisturbed = Scene(tmp_path / "undisturbed")
    undisturbed.cluster.submit("first", undisturbed.spec())
    undisturbed.run()
    undisturbed.cluster.roll_out("first")
    undisturbed.look()
    writes = len(undisturbed.cluster.writes)
    assert writes > 3 * len(ALL_STEPS)
    for number in range(1, writes + 1):
        scene = Scene(tmp_path / str(number))
        scene.cluster.submit("first", scene.spec())
        scene.cluster.killed_after = number
        _run_through_death(scene)
        created = [write for write in scene.cluster.writes if write.startswith("create Job")]
        assert len(created) == len(set(created)) == len(ALL_STEPS), (number, created)
        assert _lasting(scene) == _lasting(undisturbed), number
        assert events_of(scene) == events_of(undisturbed), number


def test_a_controller_killed_behind_every_write_it_makes_comes_to_the_same_end(scene: Scene, tmp_path: Path) -> None:
    undisturbed = Scene(tmp_path / "undisturbed")
    undisturbed.cluster.submit("first", undisturbed.spec())
    undisturbed.run()
    undisturbed.cluster.roll_out("first")
    undisturbed.look()
    scene.cluster.submit("first", scene.spec())
    scene.cluster.killed_after = 1
    _run_through_death(scene, again=True)
    created = [write for write in scene.cluster.writes if write.startswith("create Job")]
    assert len(created) == len(ALL_STEPS)
    assert _lasting(scene) == _lasting(undisturbed)
    assert events_of(scene) == events_of(undisturbed)


def test_two_that_want_the_same_data_set_share_its_job(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.cluster.submit("second", scene.spec(student={"preset": "cpu-135m"}))
    scene.look("first")
    scene.look("second")
    job = scene.job()
    assert [owner["name"] for owner in job["metadata"]["ownerReferences"]] == ["first", "second"]
    scene.finish()
    scene.look("first")
    scene.look("second")
    assert [write for write in scene.cluster.writes if write.startswith("create Job dataset")] == [
        f"create Job {job['metadata']['name']}"
    ]


def test_who_no_longer_wants_a_shared_job_leaves_it_to_the_other(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.cluster.submit("second", scene.spec(student={"preset": "cpu-135m"}))
    scene.look("first")
    scene.look("second")
    scene.cluster.submit("first", scene.spec(suspend=True))
    scene.look("first")
    assert [owner["name"] for owner in scene.job()["metadata"]["ownerReferences"]] == ["second"]
    assert scene.cluster.status("first")["stage"] == "Suspended"


def test_suspending_stops_the_job_and_resuming_makes_it_again(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.look()
    scene.cluster.submit("first", scene.spec(suspend=True))
    scene.look()
    assert scene.job()["metadata"]["deletionTimestamp"]
    assert scene.cluster.status("first")["steps"][0]["state"] == "stopping"
    scene.cluster.forget_deleted()
    scene.look()
    assert conditions_of(scene.cluster.status("first"))["Suspended"] == ("True", "Requested")
    scene.cluster.submit("first", scene.spec())
    scene.look()
    assert scene.job()
    assert conditions_of(scene.cluster.status("first"))["Suspended"] == ("False", "NotRequested")


def test_a_job_that_somebody_deleted_is_made_again(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.look()
    name = scene.job()["metadata"]["name"]
    scene.cluster.delete(JOBS, NAMESPACE, name)
    scene.look()
    assert scene.job()["metadata"]["name"] == name


def test_a_failed_gate_is_done_work_and_serves_nothing(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.look()
    while scene.cluster.status("first")["stage"] not in ("Succeeded", "GatesFailed"):
        scene.finish(passed=False)
        scene.look()
    status = scene.cluster.status("first")
    assert conditions_of(status)["Succeeded"] == ("False", "GatesFailed")
    assert conditions_of(status)["Serving"] == ("False", "GatesFailed")
    assert scene.cluster.get(DEPLOYMENTS, NAMESPACE, "first") is None


def test_a_student_is_served_and_said_to_be_when_it_answers(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.run()
    assert conditions_of(scene.cluster.status("first"))["Serving"] == ("False", "RollingOut")
    scene.cluster.roll_out("first")
    scene.look()
    assert conditions_of(scene.cluster.status("first"))["Serving"] == ("True", "Serving")
    assert scene.cluster.status("first")["serving"] == "yes"


def test_what_is_done_is_not_written_again(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.run()
    scene.cluster.roll_out("first")
    scene.look()
    before = len(scene.cluster.writes)
    scene.reconciler = scene.controller()
    scene.look()
    assert scene.cluster.writes[before:] == []


def test_artifacts_stay_when_the_object_goes(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.run()
    made = set(scene.store.list_objects("stages"))
    scene.cluster.remove("first")
    assert scene.look() is None
    assert set(scene.store.list_objects("stages")) == made


def test_artifacts_go_along_where_that_is_wanted_but_for_what_another_uses(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec(deletionPolicy="Delete"))
    scene.run()
    scene.cluster.submit("second", scene.spec(student={"preset": "cpu-135m"}))
    scene.run("second")
    scene.cluster.remove("first")
    scene.look()
    scene.cluster.forget_deleted()
    scene.look()
    assert (DISTILLATIONS.plural, NAMESPACE, "first") not in scene.cluster.objects
    kept = {path.split("/")[2] for path in scene.store.list_objects("stages")}
    assert kept == {step["key"] for step in scene.cluster.status("second")["steps"]}


def _run_through_death(scene: Scene, *, again: bool = False) -> None:
    """To the end, served, with a new controller wherever one was killed; `again`: each of them is."""
    for _ in range(400):
        try:
            scene.look()
        except Killed:
            scene.reconciler = scene.controller()
            scene.cluster.killed_after = 1 if again else None
            continue
        stage = scene.cluster.status("first").get("stage")
        if stage != "Succeeded":
            scene.finish()
        elif not scene.cluster.get(DEPLOYMENTS, NAMESPACE, "first").get("status"):
            scene.cluster.roll_out("first")
        else:
            return
    raise AssertionError("it never ended")


def _lasting(scene: Scene) -> Any:
    """The status without its times, wherever the store lies."""
    text = json.dumps(_timeless(scene.cluster.status("first"))).replace(scene.store.uri, "STORE")
    return json.loads(text)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(entry) for key, entry in value.items() if not key.endswith("Time")}
    return [_timeless(entry) for entry in value] if isinstance(value, list) else value
