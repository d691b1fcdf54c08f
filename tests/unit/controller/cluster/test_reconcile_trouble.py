"""The reconciler where things go wrong: what is made anew, what is given up, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fake_cluster import NAMESPACE
from reconciled_scene import Scene, conditions_of, events_of
from stillhouse.controller.cluster.api import JOBS, PODS
from stillhouse.controller.plan import MAX_ATTEMPTS
from stillhouse.errors import Unavailable


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_permanent_failure_is_told_in_the_stages_own_words(scene: Scene) -> None:
    scene.cluster.submit("first", scene.spec())
    scene.look()
    scene.cluster.fail(scene.job(), reason="PodFailurePolicy", exit_code=65, message="12 records, fewer than 20")
    scene.look()
    status = scene.cluster.status("first")
    assert conditions_of(status)["Succeeded"] == ("False", "Failed")
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
    assert "StepWaits" in [reason for reason, _ in events_of(scene)]


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
