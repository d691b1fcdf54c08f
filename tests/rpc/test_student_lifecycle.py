"""Start and end of a student server: what it refuses to serve, health, drain, and a runner that is gone."""

from __future__ import annotations

import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gguf_fixture import tiny_gguf
from stillhouse.artifacts.store import Store
from stillhouse.client.student import GenerationOptions, StudentAnswer, StudentClient
from stillhouse.errors import EXIT_DONE, EXIT_PERMANENT, EXIT_USAGE, PermissionDenied, StillhouseError, Unavailable
from stillhouse.rpc.channel import open_channel
from student_server import free_port, server_command, student_server

LONG = GenerationOptions(cache_prompt=False, max_tokens=500, grammar="root ::= [a-z]+ root")


def health_of(address: str) -> int:
    with open_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=10).status)


def test_a_model_is_served_by_its_digest_and_health_says_so(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    artifact = store.put_file(tiny_gguf(tmp_path), name="model.gguf")
    flags = ("--store", store.uri, "--cache", str(tmp_path / "cache"), "--parallel", "1", "--context", "512")
    with student_server(f"sha256:{artifact.sha256}", tmp_path, *flags) as server:
        assert health_of(server.address) == health_pb2.HealthCheckResponse.SERVING
        with StudentClient(server.address) as client:
            assert client.info().model.sha256 == artifact.sha256


def test_sigterm_lets_answers_end_and_then_exits(tmp_path: Path) -> None:
    flags = ("--parallel", "1", "--context", "4096")
    with student_server(str(tiny_gguf(tmp_path)), tmp_path, *flags) as server, StudentClient(server.address) as client:
        stream = client.stream("Once", LONG)
        next(stream)
        server.process.send_signal(signal.SIGTERM)
        *_, last = stream
        assert isinstance(last, StudentAnswer)
        assert last.completion_tokens == 500
        assert server.process.wait(20) == EXIT_DONE


def test_an_answer_longer_than_the_drain_is_cut_off(tmp_path: Path) -> None:
    flags = ("--parallel", "1", "--context", "8192", "--drain-seconds", "0.2")
    with student_server(str(tiny_gguf(tmp_path)), tmp_path, *flags) as server, StudentClient(server.address) as client:
        stream = client.stream("Once", GenerationOptions(max_tokens=8000, grammar="root ::= [a-z]+ root"))
        next(stream)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(StillhouseError):
            list(stream)
        assert server.process.wait(20) == EXIT_DONE


def test_the_server_ends_with_its_runner(tmp_path: Path) -> None:
    environment = {"STILLHOUSE_WATCH_STDIN": "1"}
    with student_server(str(tiny_gguf(tmp_path)), tmp_path, "--context", "512", environment=environment) as server:
        assert server.process.stdin is not None
        server.process.stdin.close()
        assert server.process.wait(20) == EXIT_DONE


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    environment = {"STILLHOUSE_TOKEN": "only for tests"}
    with student_server(str(tiny_gguf(tmp_path)), tmp_path, "--context", "512", environment=environment) as server:
        with StudentClient(server.address) as stranger, pytest.raises(PermissionDenied):
            stranger.info()
        with StudentClient(server.address, token="only for tests") as friend:
            assert friend.info().slots == 4


def test_requests_while_the_server_is_away_are_unavailable() -> None:
    with StudentClient(f"127.0.0.1:{free_port()}") as client, pytest.raises(Unavailable, match="127"):
        client.generate("Once", deadline_seconds=5)


def fails(*flags: str) -> tuple[int, str]:
    done = subprocess.run(server_command(*flags), capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_what_cannot_be_served_is_said(tmp_path: Path) -> None:
    whole = tiny_gguf(tmp_path).read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "notes.txt").write_text("hello")
    cases = [
        (("--model", str(tmp_path / "absent.gguf")), EXIT_PERMANENT, "there is no model file"),
        (("--model", str(tmp_path / "notes.txt")), EXIT_PERMANENT, "not a GGUF file"),
        (("--model", str(tmp_path / "cut.gguf")), EXIT_PERMANENT, "cut.gguf"),
        (("--model", "sha256:12"), EXIT_USAGE, "64 hexadecimal"),
        ((), EXIT_USAGE, "--model"),
    ]
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda case: fails(*case[0], "--port", "0"), cases)
    for (_, code, message), found in zip(cases, results, strict=True):
        assert found[0] == code, found[1]
        assert message in found[1]


@pytest.mark.parametrize("flag", ["--port", "--http-port"])
def test_a_port_in_use_is_said_before_the_model_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    monkeypatch.setenv("STILLHOUSE_HTTP_KEY", "a key for tests")
    monkeypatch.setenv("STILLHOUSE_PORT", "0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, errors = fails("--model", str(tiny_gguf(tmp_path)), flag, str(taken.getsockname()[1]))
    assert code == EXIT_PERMANENT
    assert f"choose another {flag}" in errors
    assert "model loaded" not in errors


def test_a_request_while_the_model_loads_is_unavailable(tmp_path: Path) -> None:
    """The port is open before the model is: nobody is answered by a server that cannot."""
    import grpc

    from stillhouse.rpc.server import ServerConfig, start_server
    from stillhouse.student_inference.model_file import locate_model
    from stillhouse.student_inference.servicer import StudentServicer
    from stillhouse.v1 import student_inference_pb2_grpc

    servicer = StudentServicer(locate_model(str(tiny_gguf(tmp_path)), store_uri=None, cache=tmp_path))

    def add(server: grpc.Server) -> list[str]:
        student_inference_pb2_grpc.add_StudentInferenceServiceServicer_to_server(servicer, server)
        return ["stillhouse.v1.StudentInferenceService"]

    server = start_server(ServerConfig(port=0), add, serving=False)
    try:
        assert health_of(server.address) == health_pb2.HealthCheckResponse.NOT_SERVING
        with StudentClient(server.address) as client, pytest.raises(Unavailable, match="loading"):
            client.generate("Once", deadline_seconds=20)
    finally:
        server.stop(0)
