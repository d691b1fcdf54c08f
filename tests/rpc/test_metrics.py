"""Metrics of servers: what Prometheus finds, where, and that there is nothing without the variable."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gguf_fixture import tiny_gguf
from stillhouse.client.student import GenerationOptions, StudentClient
from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.rpc.channel import open_channel
from stillhouse.rpc.config import ServerConfig
from stillhouse.rpc.server import RunningServer, start_server
from stillhouse.rpc.subprocesses import free_port, start_python
from stillhouse.v1 import scorer_pb2, scorer_pb2_grpc
from student_server import student_server
from vertex_emulator_process import vertex_emulator

NAME = "stillhouse.v1.ScorerService"
SCORE = f"{NAME}/Score"
STREAM = f"{NAME}/StreamScore"


class Scorer(scorer_pb2_grpc.ScorerServiceServicer):
    """Answers, fails or waits as the role's name says."""

    def __init__(self) -> None:
        self.entered = threading.Event()

    def Score(self, request, context):
        if request.role == "slow":
            self.entered.set()
            while context.is_active():
                time.sleep(0.01)
        if request.role == "bad":
            raise InvalidArgument("no such role")
        return scorer_pb2.ScoreResponse()

    def StreamScore(self, request_iterator, context):
        for _ in request_iterator:
            yield scorer_pb2.StreamScoreResponse()


@contextmanager
def serving(scorer: Scorer) -> Iterator[tuple[RunningServer, scorer_pb2_grpc.ScorerServiceStub]]:
    def add(server: grpc.Server) -> list[str]:
        scorer_pb2_grpc.add_ScorerServiceServicer_to_server(scorer, server)
        return [NAME]

    server = start_server(ServerConfig(port=0, metrics_port=0), add)
    try:
        with open_channel(server.address) as channel:
            yield server, scorer_pb2_grpc.ScorerServiceStub(channel)
    finally:
        server.stop(0)


def read(port: int) -> dict[tuple[str, ...], float]:
    """Values by name and the values of the labels, which are in the order of their names."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text = response.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def port_of(server: RunningServer) -> int:
    assert server.metrics is not None
    return server.metrics.listener.port


def until(port: int, name: tuple[str, ...], value: float) -> dict[tuple[str, ...], float]:
    """The metrics as soon as that one has the value: a call is counted behind its answer."""
    deadline = time.monotonic() + 10
    while (found := read(port)).get(name) != value:
        assert time.monotonic() < deadline, (name, found)
        time.sleep(0.02)
    return found


def test_calls_are_counted_by_method_and_code_and_timed() -> None:
    with serving(Scorer()) as (server, stub):
        stub.Score(scorer_pb2.ScoreRequest(role="fine"))
        for role in ("bad", "bad"):
            with pytest.raises(grpc.RpcError):
                stub.Score(scorer_pb2.ScoreRequest(role=role))
        list(stub.StreamScore(iter([scorer_pb2.StreamScoreRequest()] * 3)))
        port = port_of(server)
        until(port, ("stillhouse_rpc_calls_total", "OK", STREAM), 1)
        found = until(port, ("stillhouse_rpc_calls_total", "INVALID_ARGUMENT", SCORE), 2)
    assert found["stillhouse_rpc_calls_total", "OK", SCORE] == 1
    assert found["stillhouse_rpc_seconds_count", SCORE] == 3
    assert found["stillhouse_rpc_in_flight", SCORE] == found["stillhouse_rpc_in_flight", STREAM] == 0
    assert found["process_resident_memory_bytes",] > 0
    assert not [name for name in found if "grpc.health" in str(name)]


def test_a_call_in_flight_is_seen_and_one_that_its_caller_left_is_cancelled() -> None:
    scorer = Scorer()
    with serving(scorer) as (server, stub):
        call = stub.Score.future(scorer_pb2.ScoreRequest(role="slow"))
        assert scorer.entered.wait(10)
        assert read(port_of(server))["stillhouse_rpc_in_flight", SCORE] == 1
        call.cancel()
        found = until(port_of(server), ("stillhouse_rpc_calls_total", "CANCELLED", SCORE), 1)
        assert found["stillhouse_rpc_in_flight", SCORE] == 0


def test_a_passed_deadline_is_counted_as_such() -> None:
    with serving(Scorer()) as (server, stub):
        with pytest.raises(grpc.RpcError):
            stub.Score(scorer_pb2.ScoreRequest(role="slow"), timeout=0.3)
        until(port_of(server), ("stillhouse_rpc_calls_total", "DEADLINE_EXCEEDED", SCORE), 1)


def test_the_listener_ends_with_the_server() -> None:
    with serving(Scorer()) as (server, _):
        port = port_of(server)
    with pytest.raises(OSError):
        read(port)


def test_without_the_variable_there_are_no_metrics() -> None:
    assert ServerConfig.from_env({}).metrics_port is None
    assert ServerConfig.from_env({"STILLHOUSE_METRICS_PORT": "9090"}).metrics_port == 9090
    server = start_server(ServerConfig(port=0), lambda server: [])
    server.stop(0)
    assert server.metrics is None


@pytest.mark.parametrize("port", ["x", "-1", "65536"])
def test_a_bad_port_is_refused_by_name(port: str) -> None:
    with pytest.raises(InvalidArgument, match=r"METRICS_PORT|metrics port"):
        ServerConfig.from_env({"STILLHOUSE_METRICS_PORT": port})


@pytest.mark.parametrize("is_metrics", [True, False])
def test_a_port_in_use_is_said_and_nothing_is_left_listening(is_metrics: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        busy, free = taken.getsockname()[1], free_port()
        config = ServerConfig(port=free if is_metrics else busy, metrics_port=busy if is_metrics else free)
        with pytest.raises(FailedPrecondition, match=f"metrics on port {busy}" if is_metrics else f":{busy}"):
            start_server(config, lambda server: [])
        start_server(ServerConfig(port=free), lambda server: []).stop(0)


def test_a_process_that_is_started_does_not_want_the_same_port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STILLHOUSE_METRICS_PORT", "9090")
    output = tmp_path / "output"
    with output.open("wb") as stream:
        process = start_python(["-c", "import os; print('STILLHOUSE_METRICS_PORT' in os.environ)"], output=stream)
    process.communicate(timeout=30)
    assert output.read_text() == "False\n"


def test_serve_of_a_service_has_metrics() -> None:
    port = free_port()
    environment = {**os.environ, "STILLHOUSE_METRICS_PORT": str(port), "STILLHOUSE_WATCH_STDIN": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "stillhouse.scorer", "serve", "--port", "0"],
        env=environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert '"serving"' in process.stderr.readline()
        assert read(port)["process_resident_memory_bytes",] > 0
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_student_says_its_model_its_slots_and_its_tokens(tmp_path: Path) -> None:
    port, model = free_port(), tiny_gguf(tmp_path)
    environment = {"STILLHOUSE_METRICS_PORT": str(port)}
    with (
        student_server(str(model), tmp_path, "--parallel", "2", environment=environment) as started,
        StudentClient(started.address) as client,
    ):
        before = read(port)
        answer = client.generate("Once", GenerationOptions(cache_prompt=False, max_tokens=7), deadline_seconds=60)
        digest = client.info().model.sha256
        found = read(port)
    assert found["stillhouse_student_slots",] == 2
    assert found["stillhouse_student_slots_busy",] == found["stillhouse_student_requests_waiting",] == 0
    assert [name for name in found if name[0] == "stillhouse_student_model_info" and digest in name]
    tokens = {kind: found["stillhouse_student_tokens_total", kind] for kind in ("prompt", "completion")}
    earlier = {kind: before["stillhouse_student_tokens_total", kind] for kind in ("prompt", "completion")}
    assert tokens["completion"] - earlier["completion"] == answer.completion_tokens
    assert tokens["prompt"] - earlier["prompt"] == answer.prompt_tokens


def test_the_emulator_says_its_bill(tmp_path: Path) -> None:
    port = free_port()
    with vertex_emulator(tmp_path, environment={"STILLHOUSE_METRICS_PORT": str(port)}):
        found = read(port)
    assert found["stillhouse_emulator_requests_total",] == found["stillhouse_emulator_billed_total",] == 0
    assert found["stillhouse_emulator_refused_total", "throttled"] == 0
    assert found["stillhouse_emulator_tokens_total", "output"] == 0
