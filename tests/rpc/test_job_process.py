"""Jobs as processes: exit codes, termination messages, signals, and the end of their runner."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import any_pb2, json_format
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status

import sample_service
from stillhouse.artifacts.digests import request_key
from stillhouse.artifacts.messages import message_json
from stillhouse.artifacts.store import Store
from stillhouse.rpc.operation import read_progress
from stillhouse.v1.trainer_pb2 import PrepareBaseRequest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def written(request: PrepareBaseRequest, folder: Path) -> Path:
    packed = any_pb2.Any()
    packed.Pack(request)
    path = folder / "request.json"
    path.write_text(message_json(packed))
    return path


class Job:
    """A started `python -m sample_service run`, its streams in files."""

    def __init__(self, name: str, store_uri: str, folder: Path, **variables: str) -> None:
        self.request = PrepareBaseRequest(name=name, store_uri=store_uri)
        self.key = request_key("base", 1, self.request)
        self.message = folder / "termination"
        self._log = folder / "stderr"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sample_service", "run", "--request", str(written(self.request, folder))],
                env=sample_service.environment(STILLHOUSE_TERMINATION_LOG=str(self.message), **variables),
                stdin=subprocess.PIPE,
                stderr=log,
            )

    def wait(self) -> int:
        code = self.process.wait(timeout=60)
        assert self.process.stdin is not None
        self.process.stdin.close()
        return code

    def await_progress(self, store: Store) -> None:
        deadline = time.monotonic() + 30
        while read_progress(store, self.key) is None:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def status(self) -> Status:
        return json_format.Parse(self.message.read_text(), Status())


@pytest.fixture
def jobs() -> Iterator[list[Job]]:
    started: list[Job] = []
    yield started
    for job in started:
        if job.process.poll() is None:
            job.process.kill()
            job.wait()


def test_a_finished_job_exits_0_with_manifest_and_message(store: Store, tmp_path: Path) -> None:
    job = Job("finish", store.uri, tmp_path)
    assert job.wait() == 0
    assert job.status.code == code_pb2.OK
    assert store.read_manifest("base", job.key) is not None
    assert [json.loads(line)["event"] for line in job.log.splitlines()] == ["started", "progress", "done"]


def test_an_unexpected_error_is_logged_with_its_traceback_and_without_secrets(store: Store, tmp_path: Path) -> None:
    job = Job("bug", store.uri, tmp_path)
    assert job.wait() == 65
    last = json.loads(job.log.splitlines()[-1])
    assert last["event"] == "failed unexpectedly"
    assert "sample_service.py" in last["exception"]
    assert sample_service.TOKEN not in job.log + job.message.read_text()


def test_sigterm_saves_a_checkpoint_and_exits_143(store: Store, tmp_path: Path, jobs: list[Job]) -> None:
    job = Job("count", store.uri, tmp_path)
    jobs.append(job)
    job.await_progress(store)
    job.process.send_signal(signal.SIGTERM)
    assert job.wait() == 143
    assert job.status.code == code_pb2.CANCELLED
    assert json.loads(store.read_object(f"runs/{job.key}/checkpoint.json") or b"")["attempts"] == 1


def test_sigint_saves_a_checkpoint_and_exits_130(store: Store, tmp_path: Path, jobs: list[Job]) -> None:
    job = Job("count", store.uri, tmp_path)
    jobs.append(job)
    job.await_progress(store)
    job.process.send_signal(signal.SIGINT)
    assert job.wait() == 130
    assert store.read_object(f"runs/{job.key}/checkpoint.json") is not None


def test_a_job_whose_runner_is_gone_stops(store: Store, tmp_path: Path, jobs: list[Job]) -> None:
    job = Job("count", store.uri, tmp_path, STILLHOUSE_WATCH_STDIN="1")
    jobs.append(job)
    job.await_progress(store)
    assert job.process.stdin is not None
    job.process.stdin.close()
    assert job.process.wait(timeout=30) == 143
    assert store.read_object(f"runs/{job.key}/checkpoint.json") is not None


def test_a_deaf_job_ends_ten_seconds_after_its_runner(store: Store, tmp_path: Path, jobs: list[Job]) -> None:
    job = Job("deaf", store.uri, tmp_path, STILLHOUSE_WATCH_STDIN="1")
    jobs.append(job)
    job.await_progress(store)
    assert job.process.stdin is not None
    job.process.stdin.close()
    assert job.process.wait(timeout=60) == 143


def test_an_ended_input_means_nothing_where_nobody_watches_it(store: Store, tmp_path: Path) -> None:
    job = Job("finish", store.uri, tmp_path)
    assert job.process.stdin is not None
    job.process.stdin.close()
    assert job.process.wait(timeout=60) == 0


def test_a_read_only_store_is_refused_for_good(tmp_path: Path) -> None:
    job = Job("finish", "file:///proc/store", tmp_path)
    assert job.wait() == 65
    assert job.status.code == code_pb2.PERMISSION_DENIED
    assert "/proc/store" in job.status.message


def test_a_full_store_may_be_tried_again(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=3", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this user may not mount a small disk")
    try:
        job = Job("finish", f"file://{disk}/store", tmp_path)
        assert job.wait() == 75
        assert job.status.code == code_pb2.RESOURCE_EXHAUSTED
        assert "disk is full" in job.status.message
    finally:
        subprocess.run(["umount", disk], check=True)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sample_service", *arguments],
        env=sample_service.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_wrong_usage_exits_2() -> None:
    assert run("run").returncode == 2


def test_a_request_may_be_a_file_uri(store: Store, tmp_path: Path) -> None:
    path = written(PrepareBaseRequest(name="finish", store_uri=store.uri), tmp_path)
    assert run("run", "--request", f"file://{path}").returncode == 0
    assert len(list(store.manifests())) == 1
