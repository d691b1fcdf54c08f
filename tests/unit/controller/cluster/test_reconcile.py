"""The reconciler against a cluster in memory: one Job a step, nothing twice, nothing lost, whenever it dies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from fake_cluster import NAMESPACE, SETTINGS, FakeCluster, Killed
from planned_world import ALL_STEPS, result_of
from stillhouse.artifacts.store import Store
from stillhouse.controller.cluster.api import DEPLOYMENTS, DISTILLATIONS, EVENTS, JOBS, PODS
from stillhouse.controller.cluster.reconcile import Reconciler
from stillhouse.controller.plan import MAX_ATTEMPTS
from stillhouse.errors import Unavailable
from stillhouse.v1.evaluator_pb2 import EvaluateRequest, EvaluateResult
from stillhouse.v1.exporter_pb2 import ExportRequest

Json = dict[str, Any]


class Scene:
    """A cluster, a store and a controller that may be killed and started anew."""

    def __init__(self, directory: Path) -> None:
        self.cluster = FakeCluster()
        self.store = Store.open(str(directory / "store"))
        self.store.put_bytes(b"{}\n", name="rows.jsonl")
        self.rows = self.store.put_bytes(b'{"concept": "x"}\n', name="rows.jsonl")
        self.now = 1_000_000.0
        self.reconciler = self.controller()

    def controller(self) -> Reconciler:
        return Reconciler(self.cluster, SETTINGS, open_store=lambda _uri: self.store, clock=lambda: self.now)

    def spec(self, **changes: Any) -> Json:
        return {
            "role": "product_owner",
            "dataset": {"imports": [{"uri": f"sha256:{self.rows.sha256}"}]},
            **changes,
        }

    def look(self, name: str = "first", times: int = 3) -> float | None:
        """Looks until a look changes nothing more; a killed controller is replaced."""
        again: float | None = 0.0
        for _ in range(times):
            again = self.reconciler.reconcile(NAMESPACE, name)
            if again != 0.0:
                break
        return again

    def job(self) -> Json:
        """The one Job that has not ended."""
        (job,) = [job for job in self.cluster.jobs() if not job.get("status")]
        return job

    def finish(self, *, passed: bool = True) -> str:
        """The one Job under way is done; the name of its stage."""
        job = self.job()
        stage: str = job["metadata"]["labels"]["stillhouse.dev/stage"]
        self.cluster.finish(
            job, self.store, lambda request: _result(stage, request, passed=passed), second=int(self.now)
        )
        self.now += 10
        return stage

    def run(self, name: str = "first") -> list[str]:
        """To the end; the stages in their order."""
        done = []
        self.look(name)
        while self.cluster.status(name)["stage"] not in ("Succeeded", "GatesFailed", "Failed"):
            done.append(self.finish())
            self.look(name)
        return done


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def _result(stage: str, request: Message, *, passed: bool) -> Message:
    name = stage
    if isinstance(request, ExportRequest) and not request.HasField("adapter"):
        name = "export-base"
    made = result_of(name, passed=passed)
    if isinstance(request, EvaluateRequest) and isinstance(made, EvaluateResult) and not request.gates:
        made.ClearField("gates")
    return made


def test_every_step_is_one_job_after_the_other(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    assert scene.run() == ["dataset", "base", "train", "export", "export", "evaluate", "evaluate"]
    status = scene.cluster.status("first")
    assert [step["name"] for step in status["steps"]] == ALL_STEPS
    assert {step["state"] for step in status["steps"]} == {"done"}
    assert _conditions(status)["Succeeded"] == ("True", "Succeeded")
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
        assert _events(scene) == _events(undisturbed), number


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
    assert _events(scene) == _events(undisturbed)


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
    assert _conditions(scene.cluster.status("first"))["Suspended"] == ("True", "Requested")
    scene.cluster.submit("first", scene.spec())
    scene.look()
    assert scene.job()
    assert _conditions(scene.cluster.status("first"))["Suspended"] == ("False", "NotRequested")


def test_a_job_that_somebody_deleted_is_made_again(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.look()
    name = scene.job()["metadata"]["name"]
    scene.cluster.delete(JOBS, NAMESPACE, name)
    scene.look()
    assert scene.job()["metadata"]["name"] == name


def test_a_permanent_failure_is_told_in_the_stages_own_words(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.look()
    scene.cluster.fail(scene.job(), reason="PodFailurePolicy", exit_code=65, message="12 records, fewer than 20")
    scene.look()
    status = scene.cluster.status("first")
    assert _conditions(status)["Succeeded"] == ("False", "Failed")
    assert status["stage"] == "Failed"
    assert "12 records, fewer than 20" in status["message"]
    assert f"kubectl -n {NAMESPACE} delete job dataset-" in status["message"]


def test_a_failed_job_is_made_anew_when_the_spec_would_make_another(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.look()
    scene.cluster.fail(scene.job(), reason="BackoffLimitExceeded", exit_code=137)
    scene.look()
    assert scene.cluster.status("first")["stage"] == "Failed"
    scene.cluster.submit("first", scene.spec(resources={"dataset": {"limits": {"memory": "4Gi"}}}))
    scene.look()
    container = scene.job()["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"] == {"limits": {"memory": "4Gi"}}


def test_a_job_that_does_not_get_going_is_made_anew_when_the_spec_would_make_another(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec(resources={"dataset": {"limits": {"example.com/gpu": "64"}}}))
    scene.look()
    first = scene.job()["metadata"]["uid"]
    scene.cluster.submit("first", scene.spec())
    scene.look()
    assert scene.job()["metadata"]["deletionTimestamp"]
    scene.cluster.forget_deleted()
    scene.look()
    assert scene.job()["metadata"]["uid"] != first
    assert scene.job()["spec"]["template"]["spec"]["containers"][0]["resources"] == {}


def test_a_job_that_waits_in_a_queue_goes_to_another_when_the_spec_names_it(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec(queue="nowhere"))
    scene.look()
    scene.cluster.submit("first", scene.spec(queue="one-at-a-time"))
    scene.look()
    scene.cluster.forget_deleted()
    scene.look()
    assert scene.job()["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "one-at-a-time"


def test_a_job_that_runs_is_left_alone_when_the_spec_would_make_another(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.look()
    scene.cluster.begin(scene.job())
    scene.cluster.submit("first", scene.spec(resources={"dataset": {"limits": {"memory": "4Gi"}}}))
    scene.look()
    assert "deletionTimestamp" not in scene.job()["metadata"]


def test_of_two_that_share_a_job_only_the_first_makes_it_anew(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.cluster.submit("second", scene.spec(resources={"dataset": {"limits": {"memory": "4Gi"}}}))
    scene.look("first")
    scene.look("second")
    scene.cluster.fail(scene.job(), reason="PodFailurePolicy", exit_code=65)
    before = len([write for write in scene.cluster.writes if "Job" in write])
    for name in ("first", "second") * 3:
        scene.look(name)
        assert scene.cluster.status(name)["stage"] == "Failed"
    assert [write for write in scene.cluster.writes if "Job" in write][before:] == []


def test_a_job_that_ends_without_a_result_is_tried_again_until_it_is_given_up(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    for _ in range(MAX_ATTEMPTS):
        scene.look()
        job = scene.job()
        done = {"type": "Complete", "status": "True", "lastTransitionTime": "1970-01-01T00:00:00Z"}
        scene.cluster.objects[JOBS.plural, NAMESPACE, job["metadata"]["name"]]["status"] = {"conditions": [done]}
    scene.look()
    assert scene.cluster.status("first")["stage"] == "Failed"
    assert "gave up after 5 attempts" in scene.cluster.status("first")["message"]


def test_a_spec_that_only_the_controller_can_refuse_says_why(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec(student={"preset": "no-such"}))
    scene.look()
    status = scene.cluster.status("first")
    assert status["stage"] == "Invalid"
    assert "unknown preset 'no-such'" in status["message"]
    assert scene.cluster.jobs() == []


@pytest.mark.parametrize("uri", ["rows.jsonl", "/etc/passwd", "file:///etc/passwd"])
def test_a_path_is_refused_with_the_remedy(scene: Scene, uri: str) -> None:
    scene.cluster.submit("first", scene.spec(dataset={"imports": [{"uri": uri}]}))
    scene.look()
    assert "run FILE --cluster" in scene.cluster.status("first")["message"]


@pytest.mark.parametrize("store", ["/tmp/x", "file:///tmp/x", "memory://x"])
def test_a_store_that_pods_do_not_share_is_refused(scene: Scene, store: str) -> None:
    scene.cluster.submit("first", scene.spec(store=store))
    scene.look()
    assert "is not for a cluster" in scene.cluster.status("first")["message"]


def test_an_api_server_that_is_gone_for_a_while_is_asked_again(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())

    def gone() -> None:
        raise Unavailable("the API server can't be reached")

    scene.cluster.before_write = gone
    with pytest.raises(Unavailable):
        scene.look()
    scene.cluster.before_write = lambda: None
    scene.run()
    assert scene.cluster.status("first")["stage"] == "Succeeded"


def test_a_failed_gate_is_done_work_and_serves_nothing(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.look()
    while scene.cluster.status("first")["stage"] not in ("Succeeded", "GatesFailed"):
        scene.finish(passed=False)
        scene.look()
    status = scene.cluster.status("first")
    assert _conditions(status)["Succeeded"] == ("False", "GatesFailed")
    assert _conditions(status)["Serving"] == ("False", "GatesFailed")
    assert scene.cluster.get(DEPLOYMENTS, NAMESPACE, "first") is None


def test_a_student_is_served_and_said_to_be_when_it_answers(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.run()
    assert _conditions(scene.cluster.status("first"))["Serving"] == ("False", "RollingOut")
    scene.cluster.roll_out("first")
    scene.look()
    assert _conditions(scene.cluster.status("first"))["Serving"] == ("True", "Serving")
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


def _conditions(status: Json) -> dict[str, tuple[str, str]]:
    return {entry["type"]: (entry["status"], entry["reason"]) for entry in status["conditions"]}


def _events(scene: Scene) -> list[tuple[str, str]]:
    return sorted((event["reason"], event["message"]) for event in scene.cluster.list(EVENTS, NAMESPACE))


def _lasting(scene: Scene) -> Any:
    """The status without its times, wherever the store lies."""
    text = json.dumps(_timeless(scene.cluster.status("first"))).replace(scene.store.uri, "STORE")
    return json.loads(text)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(entry) for key, entry in value.items() if not key.endswith("Time")}
    return [_timeless(entry) for entry in value] if isinstance(value, list) else value


def test_a_job_that_gets_no_pod_says_where_the_reason_is(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.look()
    name = scene.job()["metadata"]["name"]
    scene.cluster.objects[JOBS.plural, NAMESPACE, name]["status"] = {"startTime": "1970-01-12T13:46:40Z"}
    scene.look()
    assert "message" not in scene.cluster.status("first")["steps"][0]
    scene.now += 30
    scene.look()
    assert f"kubectl -n {NAMESPACE} describe job {name}" in scene.cluster.status("first")["message"]
    assert "StepWaits" in [reason for reason, _ in _events(scene)]


def test_a_student_that_does_not_get_going_says_why(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.run()
    waiting = {"reason": "ErrImagePull", "message": "no such tag"}
    pod = {
        "metadata": {"name": "first-1", "labels": {"stillhouse.dev/student": "first"}},
        "status": {"containerStatuses": [{"name": "student", "image": "llama:1", "state": {"waiting": waiting}}]},
    }
    scene.cluster.create(PODS, NAMESPACE, pod)
    scene.look()
    serving = next(entry for entry in scene.cluster.status("first")["conditions"] if entry["type"] == "Serving")
    assert serving["message"] == "image llama:1 can't be had (ErrImagePull): no such tag"


def test_artifacts_that_cannot_be_deleted_hold_the_object_and_say_how_to_let_it_go(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec(deletionPolicy="Delete"))
    scene.run()
    scene.cluster.remove("first")
    scene.look()
    scene.cluster.forget_deleted()
    scene.store.put_object("distillations/team.other/status.json", b"no JSON")
    scene.look()
    message = scene.cluster.status("first")["message"]
    assert "its artifacts can't be deleted" in message
    assert "patch distillation first" in message
