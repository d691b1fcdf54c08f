"""`status`, `stop`, `logs`, `report` and `chat` with --cluster: what they read, write, and say."""

from __future__ import annotations

import base64
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_cluster import NAMESPACE
from played_cluster import PlayedCluster, cluster_of
from stillhouse.artifacts.store import Store
from stillhouse.cli import cluster_logs, cluster_status, cluster_store
from stillhouse.cli.cluster_artifacts import forwarded_student, recorded_run
from stillhouse.cli.cluster_forward import forwarded
from stillhouse.cli.cluster_store import opened_store, store_uri
from stillhouse.controller.cluster.api import CONFIG_MAPS, DEPLOYMENTS, DISTILLATIONS, PODS, SECRETS, SERVICES
from stillhouse.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unavailable
from waiting import wait_until

Json = dict[str, Any]
JOB = "train-0123"


def with_demo(*, stage: str = "train", spec: Json | None = None, **status: Any) -> PlayedCluster:
    api = PlayedCluster()
    steps = [
        {"name": "dataset", "stage": "dataset", "state": "done"},
        {"name": "train", "stage": "train", "state": "running", "job": JOB, "key": "k"},
        {"name": "export", "stage": "export", "state": "waiting", "message": "after train"},
    ]
    whole = {"observedGeneration": 1, "stage": stage, "steps": steps, **status}
    body = {"role": "product_owner", "dataset": {"imports": []}} | (spec or {})
    api.put(DISTILLATIONS, {"metadata": {"name": "demo", "generation": 1}, "spec": body, "status": whole})
    return api


def labels(component: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": "stillhouse", "app.kubernetes.io/component": component}


def pod(name: str, *, state: str = "running", container: str = "stage", made: int = 1, **extra: str) -> Json:
    marks = {"batch.kubernetes.io/job-name": JOB, "stillhouse.dev/stage": "train"} | extra
    times = {"creationTimestamp": f"2030-01-01T00:00:{made:02}Z", "uid": name}
    return {
        "metadata": {"name": name, "labels": marks, **times},
        "status": {"containerStatuses": [{"name": container, "state": {state: {}}}]},
    }


# status and stop


def test_status_shows_all_as_kubectl_does(capsys: pytest.CaptureFixture[str]) -> None:
    api = with_demo(records=96, score="0.912", gap="0.031", serving="yes")
    assert cluster_status.show_status(cluster_of(api), None, watch=False, as_json=False) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAME", "STAGE", "RECORDS", "SCORE", "GAP", "SERVING", "AGE"]
    assert line.split()[:-1] == ["demo", "train", "96", "0.912", "0.031", "yes"]


def test_status_of_one_shows_its_steps_in_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert cluster_status.show_status(cluster_of(with_demo(records=96)), "demo", watch=False, as_json=False) == 0
    said = capsys.readouterr().out
    assert said.startswith("demo: train\n")
    assert "after train" in said
    assert max(map(len, said.splitlines())) <= 100


def test_status_as_json_is_the_clusters_own(capsys: pytest.CaptureFixture[str]) -> None:
    cluster_status.show_status(cluster_of(with_demo(records=96)), "demo", watch=False, as_json=True)
    (document,) = json.loads(capsys.readouterr().out)
    assert (document["name"], document["records"], len(document["steps"])) == ("demo", 96, 3)


def test_an_empty_namespace_is_said_to_be_empty(capsys: pytest.CaptureFixture[str]) -> None:
    cluster_status.show_status(cluster_of(PlayedCluster()), None, watch=False, as_json=False)
    assert capsys.readouterr().out == f"no Distillations in namespace {NAMESPACE}\n"


def test_watching_one_ends_with_its_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    api = with_demo(stage="GatesFailed")
    assert cluster_status.show_status(cluster_of(api), "demo", watch=True, as_json=False) == 1


def test_stop_suspends_and_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    api = with_demo()
    cluster_status.stop_on_cluster(cluster_of(api), "demo")
    assert api.objects[DISTILLATIONS.plural, NAMESPACE, "demo"]["spec"]["suspend"] is True
    said = capsys.readouterr().out
    assert f"stillhouse run FILE --cluster --namespace {NAMESPACE}" in said
    assert (
        f"""kubectl -n {NAMESPACE} patch distillation demo --type merge -p '{{"spec":{{"suspend":false}}}}'""" in said
    )


def test_what_has_ended_is_not_suspended(capsys: pytest.CaptureFixture[str]) -> None:
    api = with_demo(stage="Succeeded")
    cluster_status.stop_on_cluster(cluster_of(api), "demo")
    assert not api.writes
    assert "demo has ended: Succeeded" in capsys.readouterr().out


# logs


class Logging(PlayedCluster):
    """A pod's log is its name."""

    def logs(self, namespace: str, pod: str, *, container: str, tail_lines: int | None = None) -> str:
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


# the store and the ways there


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that says that it forwards 127.0.0.1:4711, and writes down with which arguments."""
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    said = tmp_path / "arguments"
    lines = [
        "#!/bin/sh",
        f'echo "$@" > {said}',
        f"echo $$ > {said.with_name('process')}",
        'echo "Forwarding from 127.0.0.1:4711 -> 7070"',
        "exec sleep 60",
    ]
    program.write_text("\n".join(lines))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return said


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def encoded(**values: str) -> dict[str, str]:
    return {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}


def installed(*, store: str = "s3://stillhouse", service: bool = True) -> PlayedCluster:
    """The chart with its development store."""
    api = with_demo()
    if store:
        settings = f"store: {store}\nenvFrom: [{{secretRef: {{name: keys}}}}]\n"
        metadata = {"name": "stillhouse-settings", "labels": labels("controller")}
        api.put(CONFIG_MAPS, {"metadata": metadata, "data": {"settings.yaml": settings}})
    endpoint = "http://stillhouse-object-store.release.svc:7070"
    keys = encoded(AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="secret", AWS_ENDPOINT_URL=endpoint)
    api.put(SECRETS, {"metadata": {"name": "keys", "labels": labels("object-store")}, "data": keys})
    if service:
        metadata = {"name": "stillhouse-object-store", "labels": labels("object-store")}
        api.put(SERVICES, {"metadata": metadata, "spec": {"ports": [{"name": "s3", "port": 7070}]}})
    return api


def seen_environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """What the environment says of S3 when the store is opened."""
    seen: dict[str, str | None] = {}

    def opened(uri: str) -> object:
        seen.update({name: os.environ.get(name) for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID")})
        return object()

    monkeypatch.setattr(Store, "open", opened)
    return seen


def test_the_charts_development_store_is_reached_through_kubectl(
    kubectl: Path, no_keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = seen_environment(monkeypatch)
    with opened_store(cluster_of(installed()), "s3://stillhouse"):
        pass
    assert seen == {"AWS_ENDPOINT_URL": "http://127.0.0.1:4711", "AWS_ACCESS_KEY_ID": "id"}
    assert "AWS_ENDPOINT_URL" not in os.environ
    assert "AWS_ACCESS_KEY_ID" not in os.environ
    assert kubectl.read_text().split() == [
        "--namespace", NAMESPACE, "port-forward", "--address=127.0.0.1", "service/stillhouse-object-store", ":7070",
    ]  # fmt: skip


def test_a_namespace_of_another_installation_finds_its_store_by_the_secret(
    kubectl: Path, no_keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen_environment(monkeypatch)
    with opened_store(cluster_of(installed(store="", service=False)), "s3://stillhouse"):
        pass
    assert kubectl.read_text().split()[:2] == ["--namespace", "release"]


@pytest.mark.parametrize("case", ["endpoint", "other bucket", "other cloud", "own keys"])
def test_a_store_of_the_users_own_is_reached_as_the_environment_says(
    case: str, kubectl: Path, no_keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen_environment(monkeypatch)
    if case == "endpoint":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://mine")
    if case == "own keys":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    api = installed(store="" if case == "own keys" else "s3://stillhouse")
    uri = {"other bucket": "s3://mine", "other cloud": "gs://stillhouse"}.get(case, "s3://stillhouse")
    with opened_store(cluster_of(api), uri):
        pass
    assert not kubectl.exists()


def test_keys_that_may_not_be_read_are_named_with_a_remedy(kubectl: Path, no_keys: None) -> None:
    api = installed()
    api.unreadable.add("Secret")
    with (
        pytest.raises(PermissionDenied, match="AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        opened_store(cluster_of(api), "s3://stillhouse"),
    ):
        pass


def test_the_flag_goes_before_the_file_and_the_file_before_the_installation() -> None:
    cluster = cluster_of(installed())
    assert store_uri(cluster, flag="s3://flag", spec="s3://file") == "s3://flag"
    assert store_uri(cluster, flag=None, spec="gs://file") == "gs://file"
    assert store_uri(cluster, flag=None, spec=None) == "s3://stillhouse"
    assert cluster_store.installation(cluster).secrets == ("keys",)


def test_without_kubectl_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(FailedPrecondition, match=r"kubectl is not on the PATH.*install it"),
        forwarded("student", 50051, namespace="team", context=None),
    ):
        pass


def test_what_kubectl_says_of_a_service_that_is_not_there_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "kubectl"
    program.write_text('#!/bin/sh\necho "Error from server: services \\"student\\" not found" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with (
        pytest.raises(Unavailable, match=r'Service team/student can\'t be reached: .*services "student" not found'),
        forwarded("student", 50051, namespace="team", context=None),
    ):
        pass


def test_the_way_is_closed_with_the_block(kubectl: Path) -> None:
    with forwarded("student", 50051, namespace="team", context="prod") as port:
        assert port == 4711
        assert kubectl.read_text().startswith("--context prod --namespace team port-forward")
        readers = [thread for thread in threading.enumerate() if thread.name == "port-forward"]
        assert readers
    for reader in readers:
        reader.join(5)
        assert not reader.is_alive()


def test_the_way_is_closed_when_the_command_is_killed(kubectl: Path) -> None:
    program = (
        "import os, signal\nfrom stillhouse.cli.cluster_forward import forwarded\n"
        "with forwarded('student', 1, namespace='team', context=None):\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    process_id = kubectl.with_name("process")
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    process = Path("/proc") / process_id.read_text().strip()
    wait_until(lambda: not process.exists(), "kubectl ends")


# report and chat


def test_a_run_that_the_controller_has_not_recorded_has_no_report_yet(no_keys: None) -> None:
    api = with_demo(spec={"store": "s3://nowhere"})
    memory = Store.open("memory://unrecorded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "open", lambda uri: memory)
        with (
            pytest.raises(FailedPrecondition, match="has recorded nothing of demo"),
            recorded_run(cluster_of(api), "demo", store=None),
        ):
            pass


def test_the_record_is_found_by_namespace_and_name(no_keys: None) -> None:
    memory = Store.open("memory://recorded")
    record = {"distillation": {}, "steps": [], "outcome": "", "updated": "2030-01-01T00:00:00+00:00"}
    memory.put_object(f"distillations/{NAMESPACE}.demo/status.json", json.dumps(record).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "open", lambda uri: memory)
        with recorded_run(cluster_of(with_demo()), "demo", store="s3://any") as found:
            assert (found.run.name, found.is_running) == ("demo", True)


def test_chat_reaches_the_students_service(kubectl: Path) -> None:
    api = with_demo(spec={"serve": {"name": "owner"}})
    api.put(DEPLOYMENTS, {"metadata": {"name": "owner"}, "spec": {}, "status": {"availableReplicas": 1}})
    with forwarded_student(cluster_of(api), "demo") as student:
        assert (student.address, student.role) == ("127.0.0.1:4711", "product_owner")
    assert kubectl.read_text().split()[-2:] == ["service/owner", ":50051"]


@pytest.mark.parametrize(("deployed", "said"), [(False, "is not served: no gates"), (True, "does not answer yet")])
def test_a_student_that_does_not_answer_is_told_with_the_reason(deployed: bool, said: str) -> None:
    refused = {"type": "Serving", "status": "False", "reason": "GatesFailed", "message": "no gates"}
    api = with_demo(conditions=[refused])
    if deployed:
        api.put(DEPLOYMENTS, {"metadata": {"name": "demo"}, "spec": {}, "status": {}})
    with pytest.raises(FailedPrecondition, match=said), forwarded_student(cluster_of(api), "demo"):
        pass
