"""The optimizer against a real student server on localhost: over the network, as a Job, stopped, and asked wrongly."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from job_process import start_job
from optimizer_jobs import ROLE, author, kept_answers, request_for, result_of, run_job, said
from scripted_student_server import MODEL, ScriptedServicer, served
from stillhouse.artifacts.digests import request_key
from stillhouse.artifacts.store import Store
from stillhouse.errors import StillhouseError
from stillhouse.optimizer.__main__ import operation
from stillhouse.optimizer.servicer import OptimizerServicer
from stillhouse.programs.document import read_program
from stillhouse.roles.role import Message
from stillhouse.rpc.channel import open_channel
from stillhouse.rpc.config import ServerConfig
from stillhouse.rpc.server import start_server
from stillhouse.rpc.subprocesses import free_port
from stillhouse.teachers.permission import ServerPermissions
from stillhouse.v1 import optimizer_pb2_grpc
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.evaluator_pb2 import CONSTRAINT_KIND_ROLE_GRAMMAR
from stillhouse.v1.optimizer_pb2 import PROMPT_OPTIMIZER_BOOTSTRAP_FEW_SHOT, PROMPT_OPTIMIZER_GEPA, OptimizerOptions
from stillhouse.v1.teacher_pb2 import TeacherModel
from waiting import wait_until


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def student() -> ScriptedServicer:
    return ScriptedServicer(author)


@contextmanager
def serving(permissions: ServerPermissions) -> Iterator[optimizer_pb2_grpc.OptimizerServiceStub]:
    def add_services(server: grpc.Server) -> list[str]:
        servicer = OptimizerServicer(operation(), permissions)
        optimizer_pb2_grpc.add_OptimizerServiceServicer_to_server(servicer, server)
        return ["stillhouse.v1.OptimizerService"]

    server = start_server(ServerConfig(port=0), add_services)
    try:
        with open_channel(server.address) as channel:
            yield optimizer_pb2_grpc.OptimizerServiceStub(channel)
    finally:
        server.stop(0)


def test_the_service_streams_progress_and_then_a_program_with_its_metadata(
    store: Store, student: ScriptedServicer
) -> None:
    with served(student) as server, serving(ServerPermissions()) as stub:
        request = request_for(store, server.address)
        events = list(stub.Optimize(request, timeout=120))
        assert list(stub.Optimize(request, timeout=120)) == events[-1:]

    result = events[-1].result
    assert {event.WhichOneof("event") for event in events[:-1]} <= {"progress"}
    program = read_program(store.read_bytes(result.program), source="program.json")
    assert (program.role, program.role_version) == (ROLE.name, ROLE.version)
    metadata = json.loads(store.read_bytes(result.metadata))
    assert metadata["program_sha256"] == result.program.sha256
    assert metadata["models"]["task"] == f"stillhouse/sha256:{MODEL}"
    assert metadata["score"]["score"] == result.score >= result.baseline_score > 0
    assert (metadata["trainset_size"], metadata["valset_size"]) == (3, 5)
    assert len(metadata["trials"]) == result.trials
    assert result.calls == len(student.requests)
    assert all(asked.shared_prefix for asked in student.requests)


def test_only_the_roles_own_prompts_are_held_to_its_grammar(
    store: Store, student: ScriptedServicer, tmp_path: Path
) -> None:
    with served(student) as server:
        request = request_for(store, server.address, constraint=CONSTRAINT_KIND_ROLE_GRAMMAR)
        assert run_job(request, tmp_path) == 0

    for asked in student.requests:
        inputs = ROLE.inputs_of([Message(each.role, each.content) for each in asked.chat.messages])
        assert asked.constraint.HasField("role_grammar") == (inputs is not None)
        if inputs is not None:
            assert dict(asked.constraint.role_grammar.inputs) == dict(inputs)
    metadata = json.loads(store.read_bytes(result_of(store, request).metadata))
    assert metadata["models"]["task"] == f"stillhouse/sha256:{MODEL}/product_owner-grammar-{ROLE.version}"


@pytest.mark.parametrize(
    ("optimizer", "name", "idle"),
    [
        (PROMPT_OPTIMIZER_BOOTSTRAP_FEW_SHOT, "bootstrap_few_shot", ["num_trials"]),
        (PROMPT_OPTIMIZER_GEPA, "gepa", ["max_bootstrapped_demos"]),
    ],
)
def test_the_other_optimizers_run_as_jobs_and_say_what_they_have_no_use_for(
    store: Store, student: ScriptedServicer, tmp_path: Path, optimizer: Any, name: str, idle: list[str]
) -> None:
    with served(student) as server:
        request = request_for(store, server.address, optimizer=optimizer)
        assert run_job(request, tmp_path) == 0, said(tmp_path)

    result = result_of(store, request)
    metadata = json.loads(store.read_bytes(result.metadata))
    assert (metadata["optimizer"], metadata["idle"]) == (name, idle)
    assert not set(idle) & set(metadata["parameters"])
    assert result.score >= result.baseline_score > 0
    assert len(metadata["trials"]) > 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"metric": "leaf_metrics:half"}, "runs no metric of a request's own"),
        ({"prompt_model": TeacherModel(provider="litellm", model="m", endpoint="http://h:1")}, "no address"),
        ({"demo_model": TeacherModel(provider="gguf", model="/etc/model.gguf")}, "reads no file"),
        ({"model": None, "teacher": TeacherModel(provider="litellm", model="openai/http://h:1/v1")}, "no address"),
    ],
    ids=["metric", "prompt model", "demo model", "teacher"],
)
def test_a_server_lets_strangers_name_no_code_no_address_and_no_file(
    store: Store, fields: dict[str, Any], words: str
) -> None:
    with serving(ServerPermissions()) as stub, pytest.raises(grpc.RpcError) as refused:
        list(stub.Optimize(request_for(store, "127.0.0.1:1", **fields), timeout=60))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert words in refused.value.details()


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_job_has_kept_its_answers(store: Store, tmp_path: Path, stop: signal.Signals, code: int) -> None:
    held = threading.Event()

    def script(text: str) -> str:
        if len(student.requests) > 3:
            assert held.wait(60)
        return author(text)

    student = ScriptedServicer(script)
    with served(student) as server:
        job = start_job("stillhouse.optimizer", request_for(store, server.address), tmp_path)
        wait_until(lambda: len(student.requests) > 3, "the baseline is under way")
        job.send_signal(stop)
        # Time for the job to hear the signal on a busy machine; then it keeps what is being answered.
        threading.Timer(4, held.set).start()
        assert job.wait(timeout=60) == code, said(tmp_path)
    assert 3 <= len(kept_answers(store)) <= len(student.requests) <= 6


def test_a_run_that_began_with_other_versions_is_not_gone_on_with(store: Store, tmp_path: Path) -> None:
    request = request_for(store, f"127.0.0.1:{free_port()}")
    job = operation()
    key = request_key(job.stage, job.logic_version, request)
    with served(ScriptedServicer(author)) as server:
        began = {"dspy": "3.3.0", "task": f"stillhouse/sha256:{MODEL}"}
        store.put_object(f"runs/{key}/checkpoint.json", json.dumps({"began_with": began}).encode())
        request.student_address = server.address
        assert run_job(request, tmp_path) == 65
    assert "began with dspy 3.3.0, now" in said(tmp_path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"optimizer": 0}, "the optimizer is one of"),
        ({"options": OptimizerOptions(auto="gentle")}, "auto='gentle'"),
        ({"metric": "leaf_metrics:failing"}, "ZeroDivisionError: a bug of the user's"),
        ({"metric": "leaf_metrics:missing"}, "no function 'missing'"),
        ({"train": "empty"}, "train.jsonl has no rows"),
        ({"train": "validation"}, "validation.jsonl: 5 of 5 rows have a concept that is in validation.jsonl too"),
        ({"evaluate_held_out": True}, "no rows are held out that the result could be evaluated on"),
        ({"held_out": "train"}, "the held-out rows: 3 of 3 rows have a concept that is in train.jsonl too"),
        ({"held_out": "validation"}, "the held-out rows: 5 of 5 rows have a concept that is in validation.jsonl too"),
        ({"model": None}, "a model or a teacher"),
        ({"max_tokens": 0}, "max_tokens 0"),
        ({"concurrency": -1}, "concurrency -1 is below 0"),
        ({"max_cost_usd": -1.0}, "max_cost_usd -1 is below 0"),
        ({"demo_model": TeacherModel(provider="emulator", model="gemini-2.5-pro")}, "max_output_tokens 0"),
        (
            {"prompt_model": TeacherModel(provider="litellm", model="x/y", max_output_tokens=9), "max_cost_usd": 1.0},
            "the price of litellm:x/y is not known, so that max_cost_usd can't be kept",
        ),
        ({"max_calls": 3}, "max_calls was reached before the role's own prompt was evaluated on 5 rows"),
        ({"role": RoleReference(name=ROLE.name, version=999)}, "version 999"),
        ({"constraint": 0}, "constraint"),
    ],
)
def test_a_bad_request_is_permanent_and_says_what_is_wrong(
    store: Store, student: ScriptedServicer, fields: dict[str, Any], words: str
) -> None:
    from stillhouse.client.settings import StudentSettings
    from stillhouse.optimizer.stage import run
    from stillhouse.rpc.operation import JobContext

    with served(student) as server:
        request = request_for(store, server.address)
        for name in {"train", "held_out"} & fields.keys():
            empty = store.put_bytes(b"", name="train.jsonl")
            fields = {name: getattr(request, fields[name], empty)}
        request = request_for(store, server.address, **fields)
        context = JobContext(store, "0" * 64, Path("unused"))
        with pytest.raises(StillhouseError, match=words) as refused:
            run(context, request, StudentSettings(), environ={})
    assert refused.value.exit_code == 65
    assert len(student.requests) <= 5
