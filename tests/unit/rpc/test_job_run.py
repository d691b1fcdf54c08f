"""What a Job says and exits with, without the process around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from google.protobuf import any_pb2, json_format
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status
from structlog.testing import capture_logs

import sample_service
from stillhouse.artifacts.messages import message_json
from stillhouse.artifacts.store import Store
from stillhouse.errors import NotFound, Unavailable
from stillhouse.rpc.job import job_main, read_request, run_request
from stillhouse.rpc.operation import JobContext, Operation
from stillhouse.rpc.process import StopRequest
from stillhouse.rpc.status import error_of_status
from stillhouse.v1.trainer_pb2 import PrepareBaseRequest, PrepareBaseResult


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def request_text(name: str, store: Store) -> str:
    packed = any_pb2.Any()
    packed.Pack(PrepareBaseRequest(name=name, store_uri=store.uri))
    return message_json(packed)


def ran(uri: str, folder: Path) -> tuple[int, Status]:
    message = folder / "termination"
    code = run_request([sample_service.OPERATION], uri, StopRequest(), {"STILLHOUSE_TERMINATION_LOG": str(message)})
    return code, json_format.Parse(message.read_text(), Status())


@pytest.mark.parametrize(
    ("name", "exit_code", "code", "text"),
    [
        ("finish", 0, code_pb2.OK, ""),
        ("invalid", 65, code_pb2.INVALID_ARGUMENT, "row 3 of rows.jsonl is broken; mend it"),
        ("unavailable", 75, code_pb2.UNAVAILABLE, "the hub can't be reached"),
        ("memory", 75, code_pb2.RESOURCE_EXHAUSTED, "out of memory"),
        ("full", 75, code_pb2.RESOURCE_EXHAUSTED, "disk full"),
        ("forget", 65, code_pb2.FAILED_PRECONDITION, "lost.bin"),
        ("bug", 65, code_pb2.INTERNAL, "internal error (KeyError)"),
    ],
)
def test_a_job_exits_and_says_by_its_error(
    store: Store, tmp_path: Path, name: str, exit_code: int, code: int, text: str
) -> None:
    path = tmp_path / "request.json"
    path.write_text(request_text(name, store))
    found, status = ran(str(path), tmp_path)
    assert (found, status.code) == (exit_code, code)
    assert text in status.message
    assert len(list(store.manifests())) == (1 if exit_code == 0 else 0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (None, "can't be read"),
        ("{", "is no google.protobuf.Any in JSON"),
        ('{"@type": "type.googleapis.com/stillhouse.v1.Unheard"}', "stillhouse.v1.Unheard"),
        ('{"@type": "type.googleapis.com/stillhouse.v1.TrainRequest"}', "does not execute stillhouse.v1.TrainRequest"),
        ('{"@type": "type.googleapis.com/stillhouse.v1.PrepareBaseRequest", "nme": "x"}', "nme"),
        ('{"@type": "type.googleapis.com/stillhouse.v1.PrepareBaseRequest", "name": "finish"}', "set store_uri"),
    ],
)
def test_a_bad_request_exits_65_and_is_named(tmp_path: Path, text: str | None, named: str) -> None:
    path = tmp_path / "request.json"
    if text is not None:
        path.write_text(text)
    with capture_logs() as logs:
        code, status = ran(str(path), tmp_path)
    assert code == 65
    assert named in status.message
    assert named in logs[-1]["message"]


def test_the_message_keeps_the_errors_details(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text(request_text("unavailable", store))
    _, status = ran(str(path), tmp_path)
    assert getattr(error_of_status(status, source="job"), "retry_after_seconds", None) == 1.5


@pytest.mark.parametrize("character", ["x", "ü", "語", "🙂", '"', "\x00", "\udcff"])
def test_a_long_message_is_cut_to_what_kubernetes_keeps_and_stays_whole_json(
    store: Store, tmp_path: Path, character: str
) -> None:
    def failing(context: JobContext, request: PrepareBaseRequest) -> PrepareBaseResult:
        raise Unavailable(character * 5000, field="base", retry_after_seconds=1.5)

    path, message = tmp_path / "request.json", tmp_path / "termination"
    path.write_text(request_text("fail", store))
    operation = Operation("base", 1, PrepareBaseRequest, failing, module="sample_service")
    assert run_request([operation], str(path), StopRequest(), {"STILLHOUSE_TERMINATION_LOG": str(message)}) == 75
    assert len(message.read_bytes()) <= 4096
    error = error_of_status(json_format.Parse(message.read_bytes(), Status()), source="job")
    assert isinstance(error, Unavailable)
    assert (error.field, error.retry_after_seconds) == ("base", 1.5)
    assert len(error.message) > 100


def test_a_request_may_be_an_object_of_a_store(store: Store) -> None:
    store.put_object("requests/one.json", request_text("finish", store).encode())
    request = read_request(f"{store.uri}/requests/one.json")
    assert request == PrepareBaseRequest(name="finish", store_uri=store.uri)
    memory = Store.open(f"memory://requests-{store.uri}/requests")
    memory.put_object("one.json", b'{"@type": "type.googleapis.com/stillhouse.v1.PrepareBaseRequest"}')
    assert read_request(f"{memory.uri}/one.json") == PrepareBaseRequest()
    with pytest.raises(NotFound, match="absent"):
        read_request(f"{memory.uri}/absent")


def test_a_termination_message_that_can_not_be_written_changes_nothing(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text(request_text("finish", store))
    environ = {"STILLHOUSE_TERMINATION_LOG": str(tmp_path / "absent" / "termination")}
    with capture_logs() as logs:
        assert run_request([sample_service.OPERATION], str(path), StopRequest(), environ) == 0
    assert logs[-1]["event"] == "no termination message"


@pytest.mark.parametrize("arguments", [(), ("run",), ("dance",), ("run", "--request")])
def test_wrong_usage_exits_2(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        job_main("sample_service", [sample_service.OPERATION], lambda argv: 0, arguments)
    assert caught.value.code == 2
    assert "usage: python -m stillhouse.sample_service" in capsys.readouterr().err


def test_serving_gets_the_arguments_behind_the_word() -> None:
    heard: list[Sequence[str]] = []

    def serve(argv: Sequence[str]) -> int:
        heard.append(argv)
        return 7

    assert job_main("sample_service", [], serve, ["serve", "--port", "0"]) == 7
    assert heard == [["--port", "0"]]
