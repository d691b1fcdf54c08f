"""One request to its manifest: done at once, resumed, committed, adopted."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import sample_service
from stillhouse.artifacts.checkpoints import CheckpointFiles
from stillhouse.artifacts.digests import request_key
from stillhouse.artifacts.store import Store
from stillhouse.errors import Cancelled, DataLoss, FailedPrecondition, InvalidArgument
from stillhouse.rpc.execution import execute
from stillhouse.rpc.operation import JobContext, Operation, read_progress
from stillhouse.v1.artifact_pb2 import ArtifactSet, Manifest
from stillhouse.v1.common_pb2 import Progress
from stillhouse.v1.trainer_pb2 import PrepareBaseRequest, PrepareBaseResult

OPERATION = sample_service.OPERATION


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def operation(work: Callable[[JobContext, PrepareBaseRequest], PrepareBaseResult]) -> Operation:
    return Operation("base", 1, PrepareBaseRequest, work, module="sample_service")


def request_for(store: Store, name: str) -> PrepareBaseRequest:
    return PrepareBaseRequest(name=name, store_uri=store.uri)


def test_a_request_ends_in_a_manifest_with_request_and_result(store: Store) -> None:
    request = request_for(store, "finish")
    manifest = execute(OPERATION, request)
    assert manifest == store.read_manifest("base", request_key("base", 1, request))
    kept, result = PrepareBaseRequest(), PrepareBaseResult()
    assert manifest.request.Unpack(kept)
    assert manifest.result.Unpack(result)
    assert kept == PrepareBaseRequest(name="finish")
    assert store.read_bytes(result.base.files[0]) == b"{}"
    assert result.base.files[0].producer_key == manifest.key
    assert manifest.create_time.seconds > 0
    assert manifest.seconds > 0
    assert manifest.stillhouse_version


def test_the_workspace_is_in_the_temporary_directory_and_gone_afterwards(store: Store, tmp_path: Path) -> None:
    seen: list[Path] = []

    def looking(context: JobContext, request: PrepareBaseRequest) -> PrepareBaseResult:
        seen.append(context.workspace)
        (context.workspace / "scratch").write_text("x")
        return PrepareBaseResult()

    execute(operation(looking), request_for(store, "look"))
    assert seen[0].parent == Path(tempfile.gettempdir())
    assert not seen[0].exists()


def test_a_request_that_is_done_is_not_done_again(store: Store) -> None:
    request = request_for(store, "bug")
    key = request_key("base", 1, request)
    store.commit_manifest(Manifest(stage="base", key=key, stillhouse_version="earlier"))
    assert execute(OPERATION, request).stillhouse_version == "earlier"


def test_the_loser_of_a_race_adopts_the_winners_result(store: Store) -> None:
    request = request_for(store, "race")
    key = request_key("base", 1, request)

    def overtaken(context: JobContext, request: PrepareBaseRequest) -> PrepareBaseResult:
        context.store.commit_manifest(Manifest(stage="base", key=key, stillhouse_version="winner"))
        return PrepareBaseResult(parameters=2)

    manifest = execute(operation(overtaken), request)
    assert manifest.stillhouse_version == "winner"
    assert store.read_manifest("base", key) == manifest


def test_a_result_that_names_what_is_not_stored_is_not_committed(store: Store) -> None:
    request = request_for(store, "forget")
    with pytest.raises(FailedPrecondition, match=r"lost\.bin"):
        execute(OPERATION, request)
    assert list(store.manifests()) == []


def test_a_tampered_input_is_named_and_nothing_is_committed(store: Store) -> None:
    artifact = store.put_bytes(b"abc", name="model.safetensors")
    store.objects.write(f"blobs/sha256/{artifact.sha256}", b"abd")
    request = request_for(store, "read")
    request.directory.CopyFrom(ArtifactSet(files=[artifact]))
    with pytest.raises(DataLoss, match=rf"model\.safetensors.*{artifact.sha256}"):
        execute(OPERATION, request)
    assert list(store.manifests()) == []


def test_a_request_without_a_store_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="PrepareBaseRequest names no store"):
        execute(OPERATION, PrepareBaseRequest(name="finish"))


def test_a_job_that_is_stopped_resumes_from_its_checkpoint(store: Store) -> None:
    request = request_for(store, "count")
    stopping = threading.Event()

    def stopped(context: JobContext, request: PrepareBaseRequest) -> PrepareBaseResult:
        context.write_checkpoint({"step": 7})
        stopping.set()
        context.raise_if_stopping()
        return PrepareBaseResult()

    def resumed(context: JobContext, request: PrepareBaseRequest) -> PrepareBaseResult:
        return PrepareBaseResult(parameters=(context.read_checkpoint() or {})["step"])

    with pytest.raises(Cancelled):
        execute(operation(stopped), request, stopping=stopping)
    manifest = execute(operation(resumed), request)
    result = PrepareBaseResult()
    manifest.result.Unpack(result)
    assert result.parameters == 7
    assert JobContext(store, manifest.key, Path()).read_checkpoint() is None


def test_the_files_of_a_runs_checkpoints_go_when_it_is_done(store: Store) -> None:
    def saving(context: JobContext, request: PrepareBaseRequest) -> PrepareBaseResult:
        for text in (b"killed before it was named", b"named"):
            files = CheckpointFiles(context.store, context.key)
            files.put_bytes(text, name="weights")
        context.write_checkpoint({"files": files.identity})
        return PrepareBaseResult()

    manifest = execute(operation(saving), request_for(store, "save"))
    assert list(store.list_objects(f"runs/{manifest.key}")) == []


def test_a_job_that_is_asked_to_stop_before_it_starts_does_nothing(store: Store) -> None:
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(Cancelled):
        execute(OPERATION, request_for(store, "bug"), stopping=stopping)


def test_progress_is_heard_each_time_and_kept_at_first_and_at_last(store: Store) -> None:
    heard: list[int] = []
    context = JobContext(store, "k", Path(), stage="base", on_progress=lambda progress: heard.append(progress.done))
    for step in range(1, 101):
        context.report(Progress(message="step", done=step, total=100))
    first = read_progress(store, "k")
    context.flush_progress()
    last = read_progress(store, "k")
    assert first is not None
    assert last is not None
    assert (first.stage, first.done) == ("base", 1)
    assert (last.done, last.total) == (100, 100)
    assert heard == list(range(1, 101))


def test_progress_is_kept_when_the_work_fails(store: Store) -> None:
    request = request_for(store, "fail")

    def failing(context: JobContext, request: PrepareBaseRequest) -> PrepareBaseResult:
        context.report(Progress(done=1))
        context.report(Progress(done=2))
        raise DataLoss("x")

    with pytest.raises(DataLoss):
        execute(operation(failing), request)
    kept = read_progress(store, request_key("base", 1, request))
    assert kept is not None
    assert kept.done == 2


def test_work_does_not_end_because_its_progress_can_not_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "STILLHOUSE_STORE_RETRIES": "0",
    }.items():
        monkeypatch.setenv(name, value)
    heard: list[Progress] = []
    context = JobContext(Store.open("s3://bucket"), "k", Path(), on_progress=heard.append)
    with capture_logs() as logs:
        context.report(Progress(done=1))
    assert len(heard) == 1
    assert logs[0]["event"] == "progress not kept"


def test_seconds_are_summed_over_attempts(store: Store) -> None:
    request = request_for(store, "report")
    key = request_key("base", 1, request)
    store.put_object(f"runs/{key}/progress.json", b'{"figures": {"elapsed_seconds": 1e6}}')

    def reporting(context: JobContext, request: PrepareBaseRequest) -> PrepareBaseResult:
        context.report(Progress(done=2))
        return PrepareBaseResult()

    assert execute(operation(reporting), request).seconds > 1e6
    kept = read_progress(store, key)
    assert kept is not None
    assert kept.figures["elapsed_seconds"] > 1e6


def test_a_broken_checkpoint_is_named(store: Store) -> None:
    store.put_object("runs/k/checkpoint.json", b"{")
    with pytest.raises(DataLoss, match=r"runs/k/checkpoint\.json"):
        JobContext(store, "k", Path()).read_checkpoint()


def test_a_checkpoint_that_is_no_json_is_refused(store: Store) -> None:
    with pytest.raises(InvalidArgument):
        JobContext(store, "k", Path()).write_checkpoint({"loss": float("nan")})
