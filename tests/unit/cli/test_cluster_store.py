"""A cluster's store and services from this machine: the ways there, and what `report` and `chat` find by them."""

from __future__ import annotations

import base64
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fake_cluster import NAMESPACE
from played_cluster import PlayedCluster, cluster_of, with_demo
from stillhouse.artifacts.store import Store
from stillhouse.cli import cluster_store
from stillhouse.cli.cluster_artifacts import forwarded_student, recorded_run
from stillhouse.cli.cluster_forward import forwarded
from stillhouse.cli.cluster_store import opened_store, store_uri
from stillhouse.controller.cluster.api import CONFIG_MAPS, DEPLOYMENTS, SECRETS, SERVICES
from stillhouse.errors import FailedPrecondition, PermissionDenied, Unavailable
from waiting import wait_until


def labels(component: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": "stillhouse", "app.kubernetes.io/component": component}


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
