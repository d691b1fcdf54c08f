"""`logs --cluster`: which pod's log is shown, and what is said where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fake_cluster import NAMESPACE
from played_cluster import JOB, PlayedCluster, cluster_of, with_demo
from stillhouse.cli import cluster_logs
from stillhouse.controller.cluster.api import DISTILLATIONS, PODS
from stillhouse.errors import FailedPrecondition, InvalidArgument, NotFound

Json = dict[str, Any]


def pod(name: str, *, state: str = "running", container: str = "stage", made: int = 1, **extra: str) -> Json:
    marks = {"batch.kubernetes.io/job-name": JOB, "stillhouse.dev/stage": "train"} | extra
    times = {"creationTimestamp": f"2030-01-01T00:00:{made:02}Z", "uid": name}
    return {
        "metadata": {"name": name, "labels": marks, **times},
        "status": {"containerStatuses": [{"name": container, "state": {state: {}}}]},
    }


class Logging(PlayedCluster):
    """A pod's log is its name."""

    def logs(self, namespace: str, pod: str, *, container: str) -> str:
        return f"{pod} {container}\n"

    def follow_log(self, namespace: str, pod: str, *, container: str) -> Iterator[str]:
        yield f"{pod} "
        yield f"{container} to the end\n"
        for step in self.objects[DISTILLATIONS.plural, NAMESPACE, "demo"]["status"]["steps"]:
            step["state"] = "done"


def logging(*pods: Json, spec: Json | None = None) -> Logging:
    api = Logging()
    api.objects = with_demo(spec=spec).objects
    for body in pods:
        api.put(PODS, body)
    return api


def test_the_log_is_that_of_the_latest_pod(capsys: pytest.CaptureFixture[str]) -> None:
    api = logging(pod("second", made=2), pod("first", state="terminated"))
    cluster_logs.print_logs(cluster_of(api), "demo", "train", follow=False)
    assert capsys.readouterr().out == "second stage\n"


def test_a_followed_log_ends_with_its_step(capsys: pytest.CaptureFixture[str]) -> None:
    cluster_logs.print_logs(cluster_of(logging(pod("only"))), "demo", "train", follow=True)
    assert capsys.readouterr().out == "only stage to the end\n"


def test_the_students_log_is_that_of_the_pod_that_serves(capsys: pytest.CaptureFixture[str]) -> None:
    serving = pod("student", container="student", **{"stillhouse.dev/student": "owner"})
    api = logging(serving, spec={"serve": {"name": "owner"}})
    cluster_logs.print_logs(cluster_of(api), "demo", "serve", follow=False)
    assert capsys.readouterr().out == "student student\n"


@pytest.mark.parametrize(
    ("step", "error", "said"),
    [
        ("export", FailedPrecondition, "export has not begun: after train"),
        ("train", FailedPrecondition, "train has not begun, pod waits"),
        ("dataset", FailedPrecondition, "dataset has not begun"),
        ("serve", FailedPrecondition, "serve has not begun: no pod serves demo"),
        ("sing", InvalidArgument, "demo has no step 'sing'; there: dataset, train, export, serve"),
    ],
)
def test_where_there_is_no_log_the_reason_is_said(step: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        cluster_logs.print_logs(cluster_of(logging(pod("waits", state="waiting"))), "demo", step, follow=False)


def test_a_log_that_is_gone_is_said_to_be_gone() -> None:
    api = logging()
    api.objects[DISTILLATIONS.plural, NAMESPACE, "demo"]["status"]["steps"][1]["state"] = "done"
    with pytest.raises(NotFound, match=rf"the pods of train \(Job {JOB}\) are gone"):
        cluster_logs.print_logs(cluster_of(api), "demo", "train", follow=False)
