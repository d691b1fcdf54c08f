"""The evaluator against real student servers on localhost: as a Job, over the network, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import grpc
import pytest

from evaluator_jobs import finish, result_of, start_job, status_message
from scripted_student_server import MODEL, ScriptedServicer, author_script, certificate_in, served
from stillhouse.artifacts.store import Store
from stillhouse.dataset.lines import json_line
from stillhouse.errors import EXIT_USAGE, PermissionDenied, Unavailable
from stillhouse.evaluator.__main__ import operation
from stillhouse.evaluator.connection import connect
from stillhouse.evaluator.servicer import EvaluatorServicer
from stillhouse.evaluator.student import Question
from stillhouse.roles.role import Message, load_role
from stillhouse.rpc.channel import open_channel
from stillhouse.rpc.config import ServerConfig
from stillhouse.rpc.server import start_server
from stillhouse.teachers.permission import ServerPermissions
from stillhouse.v1 import evaluator_pb2_grpc
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.evaluator_pb2 import (
    CONSTRAINT_KIND_NONE,
    CONSTRAINT_KIND_ROLE_GRAMMAR,
    EvaluateRequest,
    Gate,
)
from stillhouse.v1.student_inference_pb2 import GetModelInfoRequest, GetModelInfoResponse

INPUTS, AUTHOR = author_script(4)
QUESTION = Question((Message("user", "Why?"),), "", 64, 0.0, 42)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def request_for(
    store: Store, address: str, *, inputs: list[Mapping[str, str]] = INPUTS, **fields: object
) -> EvaluateRequest:
    rows = "".join(json_line({"inputs": dict(each), "labels": {"tier": "simple"}}) for each in inputs)
    role = load_role("product_owner")
    defaults: dict[str, object] = {
        "role": RoleReference(name=role.name, version=role.version),
        "model": Artifact(name="model.gguf", sha256=MODEL),
        "validation": store.put_bytes(rows.encode(), name="validation.jsonl"),
        "constraint": CONSTRAINT_KIND_NONE,
        "max_tokens": 512,
        "seed": 42,
        "store_uri": store.uri,
        "student_address": address,
    }
    return EvaluateRequest(**{**defaults, **fields})  # type: ignore[arg-type]


def test_a_job_commits_figures_rows_and_a_summary_that_pairs(store: Store, tmp_path: Path) -> None:
    servicer = ScriptedServicer(AUTHOR)
    with served(servicer) as server:
        request = request_for(store, server.address, gates=[Gate(figure="score_mean", min=0.9)])
        assert finish(start_job(request, tmp_path)) == 0

    result = result_of(store, request)
    assert result.evaluation.valid_rate == 1.0
    assert result.evaluation.by_tier["simple"].count == 4
    assert result.passed
    rows = [json.loads(line) for line in store.open_lines(result.rows)]
    assert [row["inputs"] for row in rows] == [dict(each) for each in INPUTS]
    summary = json.loads(store.read_bytes(result.summary))
    assert summary["model_sha256"] == MODEL
    assert summary["validation_sha256"] == request.validation.sha256
    assert [row["id"] for row in summary["rows"]] == [row["id"] for row in rows]
    assert servicer.most_in_flight == 1


def test_every_question_asks_for_an_untouched_cache_and_carries_the_role_grammar(store: Store, tmp_path: Path) -> None:
    servicer = ScriptedServicer(AUTHOR)
    with served(servicer) as server:
        request = request_for(store, server.address, constraint=CONSTRAINT_KIND_ROLE_GRAMMAR)
        assert finish(start_job(request, tmp_path)) == 0

    grammar = load_role("product_owner").grammar(INPUTS[0])
    assert servicer.requests[0].constraint.grammar == grammar
    assert all(each.HasField("cache_prompt") and not each.cache_prompt for each in servicer.requests)
    assert {each.sampling.max_tokens for each in servicer.requests} == {512}


def test_a_failed_gate_is_a_result_and_no_error(store: Store, tmp_path: Path) -> None:
    with served(ScriptedServicer(lambda text: "I would rather not.")) as server:
        request = request_for(store, server.address, gates=[Gate(figure="valid_rate", min=0.9)])
        assert finish(start_job(request, tmp_path)) == 0

    result = result_of(store, request)
    assert not result.passed
    assert [gate.reason for gate in result.gates] == ["valid_rate 0 is below 0.9"]


def test_a_killed_job_goes_on_without_asking_what_was_answered(store: Store, tmp_path: Path) -> None:
    reached, killed = threading.Event(), threading.Event()
    asked: list[str] = []

    def script(text: str) -> str:
        asked.append(text)
        if len(asked) == 3:
            reached.set()
            killed.wait(60)
        return AUTHOR(text)

    with served(ScriptedServicer(script)) as server:
        request = request_for(store, server.address)
        process = start_job(request, tmp_path)
        assert reached.wait(60)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed.set()
        assert finish(start_job(request, tmp_path)) == 0

    assert len(asked) == len(INPUTS) + 1


def test_other_gates_on_the_same_answers_ask_nothing(store: Store, tmp_path: Path) -> None:
    servicer = ScriptedServicer(AUTHOR)
    with served(servicer) as server:
        assert finish(start_job(request_for(store, server.address), tmp_path)) == 0
        gated = request_for(store, server.address, gates=[Gate(figure="score_min", min=0.1)])
        assert finish(start_job(gated, tmp_path)) == 0

    assert len(servicer.requests) == len(INPUTS)


def test_a_student_that_nobody_can_reach_is_temporary_and_named_with_the_remedy(store: Store, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        request = request_for(store, address)
        assert finish(start_job(request, tmp_path, STILLHOUSE_STUDENT_WAIT_SECONDS="0.1")) == 75

    assert address in status_message(tmp_path)
    assert "serve-student" in status_message(tmp_path)


def test_a_student_of_another_model_is_permanent(store: Store, tmp_path: Path) -> None:
    with served(ScriptedServicer(AUTHOR, model="cd" * 32)) as server:
        assert finish(start_job(request_for(store, server.address), tmp_path)) == 65

    assert "cdcd" in status_message(tmp_path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"constraint": 0}, "constraint"),
        ({"gates": [Gate(figure="beauty", min=1)]}, "beauty"),
        ({"role": RoleReference(name="product_owner", version=999)}, "version 999"),
        ({"role": RoleReference(name="nobody", version=1)}, "unknown role"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"reference_score": 0.9, "reference_source": "hearsay"}, "hearsay"),
        ({"student_address": ""}, "student_address"),
    ],
)
def test_a_bad_request_is_permanent_and_says_what_is_wrong(
    store: Store, tmp_path: Path, fields: dict[str, object], words: str
) -> None:
    with served(ScriptedServicer(AUTHOR)) as server:
        assert finish(start_job(request_for(store, server.address, **fields), tmp_path)) == 65

    assert words in status_message(tmp_path)


def test_the_service_streams_progress_and_then_the_result(store: Store) -> None:
    def add_services(server: grpc.Server) -> list[str]:
        evaluator_pb2_grpc.add_EvaluatorServiceServicer_to_server(
            EvaluatorServicer(operation(), ServerPermissions()), server
        )
        return ["stillhouse.v1.EvaluatorService"]

    evaluator = start_server(ServerConfig(port=0), add_services)
    try:
        with served(ScriptedServicer(AUTHOR)) as student, open_channel(evaluator.address) as channel:
            stub = evaluator_pb2_grpc.EvaluatorServiceStub(channel)
            events = list(stub.Evaluate(request_for(store, student.address), timeout=60))
    finally:
        evaluator.stop(0)

    assert events[-1].result.evaluation.scores.count == len(INPUTS)
    assert all(event.progress.total == len(INPUTS) for event in events[:-1])


def test_a_server_with_a_wrong_setting_does_not_start_and_names_it() -> None:
    command = [sys.executable, "-m", "stillhouse.evaluator", "serve", "--port", "0"]
    environment = {**os.environ, "STILLHOUSE_ALLOW_CUSTOM_METRIC": "perhaps"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == EXIT_USAGE
    assert "STILLHOUSE_ALLOW_CUSTOM_METRIC" in done.stderr
    assert "Traceback" not in done.stderr


class LoadingServicer(ScriptedServicer):
    """Loads its model until it was asked three times what it serves."""

    asked_for_info = 0

    def GetModelInfo(self, request: GetModelInfoRequest, context: grpc.ServicerContext) -> GetModelInfoResponse:
        self.asked_for_info += 1
        if self.asked_for_info < 3:
            raise Unavailable("the model is still loading")
        return super().GetModelInfo(request, context)


def test_the_connection_waits_for_a_student_that_loads_its_model() -> None:
    servicer = LoadingServicer(lambda text: "because")
    with served(servicer) as server, connect(server.address, wait_seconds=30) as student:
        assert student.model_sha256() == MODEL
        assert student.generate(QUESTION).text == "because"
    assert servicer.asked_for_info == 3


def test_a_wrong_token_is_refused_at_once() -> None:
    config = ServerConfig(port=0, token="right")
    with (
        served(ScriptedServicer(lambda text: "because"), config) as server,
        pytest.raises(PermissionDenied),
        connect(server.address, token="wrong", wait_seconds=30),
    ):
        pass


def test_a_student_behind_tls_and_a_token_is_asked(tmp_path: Path) -> None:
    certificate, key = certificate_in(tmp_path)
    config = ServerConfig(port=0, token="right", tls_certificate=certificate, tls_key=key)
    with (
        served(ScriptedServicer(lambda text: "because"), config) as server,
        connect(server.address, token="right", ca=certificate) as student,
    ):
        assert student.generate(QUESTION).text == "because"


def test_waiting_ends_with_address_and_remedy_each_said_once() -> None:
    with pytest.raises(Unavailable) as caught, connect("127.0.0.1:1", wait_seconds=0):
        pass
    said = caught.value.message
    assert said.startswith("no student answers at 127.0.0.1:1: ")
    assert [said.count(remedy) for remedy in ("is it running", "serve-student", " right?", "correct")] == [1, 1, 1, 0]


def test_the_connection_leaves_asking_again_to_whoever_waits() -> None:
    servicer = LoadingServicer(lambda text: "because")
    with (
        served(servicer) as server,
        pytest.raises(Unavailable, match=f"{server.address}.*still loading"),
        connect(server.address, wait_seconds=0),
    ):
        pass
    assert servicer.asked_for_info == 1
