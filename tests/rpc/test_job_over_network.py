"""Batch operations over the network: the same Job, streamed, ended by its caller."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

import sample_service
from stillhouse.artifacts.digests import request_key
from stillhouse.artifacts.store import Store
from stillhouse.errors import InvalidArgument, PermanentError, Unavailable
from stillhouse.rpc.channel import open_channel
from stillhouse.rpc.server import RunningServer, ServerConfig, start_server
from stillhouse.rpc.status import error_from_rpc
from stillhouse.v1.artifact_pb2 import Manifest
from stillhouse.v1.trainer_pb2 import PrepareBaseRequest, PrepareBaseResponse, PrepareBaseResult
from stillhouse.v1.trainer_pb2_grpc import TrainerServiceStub


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    monkeypatch.setenv("PYTHONPATH", sample_service.environment()["PYTHONPATH"])
    running = start_server(ServerConfig(port=0), sample_service.add_services)
    yield running
    running.stop(5)


@pytest.fixture
def stub(server: RunningServer) -> Iterator[TrainerServiceStub]:
    with open_channel(server.address) as channel:
        yield TrainerServiceStub(channel)


def asked(name: str, store: Store) -> PrepareBaseRequest:
    return PrepareBaseRequest(name=name, store_uri=store.uri)


def test_progress_comes_first_and_the_result_last(stub: TrainerServiceStub, store: Store) -> None:
    answers = list(stub.PrepareBase(asked("finish", store), timeout=60))
    assert [answer.WhichOneof("event") for answer in answers][-1] == "result"
    assert store.read_bytes(answers[-1].result.base.files[0]) == b"{}"
    assert len(list(store.manifests())) == 1


def test_a_request_that_is_done_is_answered_without_a_job(stub: TrainerServiceStub, store: Store) -> None:
    request = asked("die", store)
    manifest = Manifest(stage="base", key=request_key("base", 1, request))
    manifest.result.Pack(PrepareBaseResult(parameters=7))
    store.commit_manifest(manifest)
    (answer,) = stub.PrepareBase(request, timeout=60)
    assert answer.result.parameters == 7


@pytest.mark.parametrize(
    ("name", "error_class", "text"),
    [("invalid", InvalidArgument, "row 3"), ("unavailable", Unavailable, "hub"), ("bug", PermanentError, "KeyError")],
)
def test_the_jobs_error_is_the_calls_error(
    stub: TrainerServiceStub, store: Store, name: str, error_class: type[Exception], text: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.PrepareBase(asked(name, store), timeout=60))
    error = error_from_rpc(caught.value, address="x")
    assert type(error) is error_class
    assert text in error.message


def test_a_job_that_is_killed_is_a_temporary_error(stub: TrainerServiceStub, store: Store) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.PrepareBase(asked("die", store), timeout=60))
    error = error_from_rpc(caught.value, address="x")
    assert type(error) is Unavailable
    assert "SIGKILL" in error.message


def await_checkpoint(store: Store, request: PrepareBaseRequest) -> dict[str, int]:
    path = f"runs/{request_key('base', 1, request)}/checkpoint.json"
    deadline = time.monotonic() + 30
    while (data := store.read_object(path)) is None:
        assert time.monotonic() < deadline, "the job was not told to stop"
        time.sleep(0.05)
    return json.loads(data)


def test_a_caller_that_cancels_has_the_job_save_and_stop(stub: TrainerServiceStub, store: Store) -> None:
    request = asked("count", store)
    call = stub.PrepareBase(request, timeout=60)
    assert next(call).progress.total == 1200
    call.cancel()
    assert await_checkpoint(store, request)["attempts"] == 1


def test_a_deadline_that_passes_has_the_job_save_and_stop(stub: TrainerServiceStub, store: Store) -> None:
    heard: list[PrepareBaseResponse] = []
    for seconds in (4, 16, 48):  # a deadline that passes before the job counts says nothing
        request = PrepareBaseRequest(name="count", revision=f"0.0{seconds}", store_uri=store.uri)
        with pytest.raises(grpc.RpcError) as caught:
            heard.extend(stub.PrepareBase(request, timeout=seconds))
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        if heard:
            break
    assert await_checkpoint(store, request)["attempts"] == 1


def test_a_server_that_stops_has_its_jobs_save_and_stop(
    server: RunningServer, stub: TrainerServiceStub, store: Store
) -> None:
    request = asked("count", store)
    call = stub.PrepareBase(request, timeout=60)
    next(call)
    server.stop(0.1)
    assert await_checkpoint(store, request)["attempts"] == 1
    with pytest.raises(grpc.RpcError):
        list(call)


def test_a_request_without_a_store_is_refused(stub: TrainerServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.PrepareBase(PrepareBaseRequest(name="finish"), timeout=60))
    assert error_from_rpc(caught.value, address="x").field == "store_uri"
