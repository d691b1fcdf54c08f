"""TeacherGeneratorService on a real server on localhost: progress, the Job's result, status codes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf import json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from generation_fixture import logged_answers, write_concepts
from stillhouse.artifacts.digests import request_key
from stillhouse.artifacts.store import Store
from stillhouse.roles.role import load_role
from stillhouse.rpc.channel import open_channel
from stillhouse.rpc.server import ServerConfig, start_server
from stillhouse.stages import GENERATE
from stillhouse.teacher_generator.__main__ import OPERATION
from stillhouse.teacher_generator.servicer import TeacherGeneratorServicer
from stillhouse.teachers.permission import ServerPermissions
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.dataset_builder_pb2 import DatasetImport
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest, GenerateRecordsResult, TeacherStage
from stillhouse.v1.teacher_generator_pb2_grpc import (
    TeacherGeneratorServiceStub,
    add_TeacherGeneratorServiceServicer_to_server,
)
from stillhouse.v1.teacher_pb2 import TEACHER_PROMPT_FENCED, TeacherModel
from vertex_emulator_process import EmulatorProcess, vertex_emulator

SERVICE = "stillhouse.v1.TeacherGeneratorService"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with vertex_emulator(tmp_path_factory.mktemp("emulator"), "--faults", "recorded", "--latency", "5ms") as server:
        yield server


@pytest.fixture(scope="module")
def channel() -> Iterator[grpc.Channel]:
    with serving(ServerPermissions(teacher_endpoint=True)) as opened:
        yield opened


@contextmanager
def serving(config: ServerPermissions) -> Iterator[grpc.Channel]:
    def add_servicer(server: grpc.Server) -> list[str]:
        add_TeacherGeneratorServiceServicer_to_server(TeacherGeneratorServicer(OPERATION, config), server)
        return [SERVICE]

    server = start_server(ServerConfig(port=0), add_servicer)
    opened = open_channel(server.address)
    try:
        yield opened
    finally:
        opened.close()
        server.stop(0)


@pytest.fixture
def stub(channel: grpc.Channel) -> TeacherGeneratorServiceStub:
    return TeacherGeneratorServiceStub(channel)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def model(emulator: EmulatorProcess, name: str = "gemini-2.5-flash") -> TeacherModel:
    return TeacherModel(
        provider="vertex",
        model=name,
        prompt=TEACHER_PROMPT_FENCED,
        temperature=0.7,
        max_output_tokens=8192,
        endpoint=emulator.url,
        concurrency=8,
    )


@pytest.fixture
def request_(store: Store, emulator: EmulatorProcess, tmp_path: Path) -> GenerateRecordsRequest:
    role = load_role("product_owner")
    concepts = write_concepts(tmp_path / "concepts.jsonl", 30).read_bytes()
    return GenerateRecordsRequest(
        role=RoleReference(name=role.name, version=role.version),
        concepts=store.put_bytes(concepts, name="concepts.jsonl"),
        stages=[
            TeacherStage(name="pro", teacher=model(emulator, "gemini-2.5-pro"), min_score=0.85, records=3, attempts=1),
            TeacherStage(name="flash", teacher=model(emulator), min_score=0.8, until=10, attempts=2),
        ],
        guards=role.guard_names,
        seed=42,
        store_uri=store.uri,
    )


def lines(store: Store, artifact: Artifact, folder: Path) -> list[dict]:
    path = store.fetch(artifact, folder / artifact.name)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_progress_comes_and_the_last_message_is_the_result_that_the_job_commits(
    stub: TeacherGeneratorServiceStub, request_: GenerateRecordsRequest, store: Store, tmp_path: Path
) -> None:
    responses = list(stub.GenerateRecords(request_, timeout=180))
    result = responses[-1].result
    assert {response.WhichOneof("event") for response in responses[:-1]} == {"progress"}
    manifest = store.read_manifest(GENERATE.name, request_key(GENERATE.name, GENERATE.logic_version, request_))
    assert manifest is not None
    committed = GenerateRecordsResult()
    assert manifest.result.Unpack(committed)
    assert result == committed
    records = lines(store, result.records, tmp_path)
    calls = lines(store, result.calls, tmp_path)
    letters = lines(store, result.dead_letters, tmp_path)
    assert [row["stage"] for row in records] == ["pro"] * 3 + ["flash"] * 7
    assert [(each.name, each.accepted, each.ended) for each in result.stages] == [
        ("pro", 3, "target reached"),
        ("flash", 7, "target reached"),
    ]
    assert result.record_count == 10
    assert not {letter["inputs"]["concept"] for letter in letters} & {row["concept"] for row in records}
    statistics = json_format.MessageToDict(result.statistics)
    assert statistics["by_model"].keys() == {"gemini-2.5-pro", "gemini-2.5-flash"}
    assert statistics["dead_letters"] == len(letters)
    settled = sum(call["cost_usd"] for call in calls)
    assert result.cost_usd == pytest.approx(settled + statistics["surplus_cost_usd"])
    answers = logged_answers(tmp_path / "store")
    assert result.cost_usd == pytest.approx(sum(answer["cost_usd"] for answer in answers))


def test_the_same_request_again_asks_nobody(
    stub: TeacherGeneratorServiceStub, request_: GenerateRecordsRequest, emulator: EmulatorProcess
) -> None:
    del request_.stages[0]
    first = list(stub.GenerateRecords(request_, timeout=180))[-1]
    billed = len(emulator.billed())
    assert list(stub.GenerateRecords(request_, timeout=180))[-1] == first
    assert len(emulator.billed()) == billed


def test_held_out_concepts_and_imports_are_read_from_the_store(
    stub: TeacherGeneratorServiceStub, request_: GenerateRecordsRequest, store: Store, tmp_path: Path
) -> None:
    role = load_role("product_owner")
    first, second = role.examples(count=2, seed=42, planted=0.3)
    held = json.dumps(dict(first.inputs)) + "\n"
    answered = json.dumps({**second.inputs, "response": role.author(second, seed=1)}) + "\n"
    request_.validation.CopyFrom(store.put_bytes(held.encode(), name="validation.jsonl"))
    recorded = TeacherStage(name="recorded", min_score=0.8)
    rows = DatasetImport(rows=store.put_bytes(answered.encode(), name="rows.jsonl"), model="pro")
    getattr(recorded, "import").CopyFrom(rows)
    stages = [recorded, request_.stages[1]]
    request_.ClearField("stages")
    request_.stages.extend(stages)
    result = list(stub.GenerateRecords(request_, timeout=180))[-1].result
    records = lines(store, result.records, tmp_path)
    assert (records[0]["stage"], records[0]["model"]) == ("recorded", "pro")
    assert records[0]["concept"] == second.inputs["concept"]
    assert [row["concept"] for row in records].count(second.inputs["concept"]) == 1
    assert first.inputs["concept"] not in {row["concept"] for row in records}
    assert json_format.MessageToDict(result.statistics)["skipped"]["held out"] == 1


Change = Callable[[GenerateRecordsRequest], object]


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda wrong: wrong.role.ClearField("version"), grpc.StatusCode.FAILED_PRECONDITION, "version 0 of role"),
        (
            lambda wrong: setattr(wrong.stages[0].teacher, "provider", "oracle"),
            grpc.StatusCode.INVALID_ARGUMENT,
            "unknown teacher provider 'oracle'",
        ),
        (lambda wrong: setattr(wrong.stages[0].teacher, "model", ""), grpc.StatusCode.INVALID_ARGUMENT, "model"),
        (lambda wrong: wrong.ClearField("stages"), grpc.StatusCode.INVALID_ARGUMENT, "no stage"),
        (lambda wrong: wrong.ClearField("concepts"), grpc.StatusCode.INVALID_ARGUMENT, "no concept to ask about"),
        (lambda wrong: setattr(wrong, "max_cost_usd", 0.0), grpc.StatusCode.FAILED_PRECONDITION, "budget"),
        (lambda wrong: setattr(wrong, "metric", "os:getcwd"), grpc.StatusCode.PERMISSION_DENIED, "CUSTOM_METRIC"),
        (lambda wrong: setattr(wrong, "store_uri", ""), grpc.StatusCode.INVALID_ARGUMENT, "store_uri"),
    ],
)
def test_a_failure_has_its_code_and_message(
    stub: TeacherGeneratorServiceStub,
    request_: GenerateRecordsRequest,
    change: Change,
    code: grpc.StatusCode,
    said: str,
) -> None:
    change(request_)
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.GenerateRecords(request_, timeout=120))
    assert caught.value.code() is code
    assert said in caught.value.details()


def test_a_corrupt_concept_names_file_and_line_and_nothing_is_asked(
    stub: TeacherGeneratorServiceStub, request_: GenerateRecordsRequest, store: Store, emulator: EmulatorProcess
) -> None:
    request_.concepts.CopyFrom(store.put_bytes(b'{"concept": "A diary"}\n{broken\n', name="concepts.jsonl"))
    billed = len(emulator.billed())
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.GenerateRecords(request_, timeout=120))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "concepts.jsonl:2 is not JSON" in caught.value.details()
    assert len(emulator.billed()) == billed


def test_it_is_healthy_and_reflected(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    status = stub.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=10).status
    assert status == health_pb2.HealthCheckResponse.SERVING
    assert SERVICE in ProtoReflectionDescriptorDatabase(channel).get_services()


def test_a_server_sends_its_credentials_to_no_address_of_a_request(request_: GenerateRecordsRequest) -> None:
    config = ServerPermissions()
    with serving(config) as guarded, pytest.raises(grpc.RpcError, match="STILLHOUSE_ALLOW_TEACHER_ENDPOINT") as caught:
        list(TeacherGeneratorServiceStub(guarded).GenerateRecords(request_, timeout=60))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
