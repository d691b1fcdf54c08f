"""The optimize stage and students that are another one, away, slow or silent. The servers are real, on localhost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from job_process import start_job
from optimizer_jobs import author, kept_answers, request_for, result_of, run_job, said
from scripted_student_server import MODEL, ScriptedServicer, served
from stillhouse.artifacts.store import Store
from stillhouse.errors import DeadlineExceeded, Unavailable
from stillhouse.rpc.config import ServerConfig
from stillhouse.rpc.subprocesses import free_port
from stillhouse.v1.student_inference_pb2 import GenerateRequest, GenerateResponse


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def test_a_student_of_another_model_is_refused(store: Store, tmp_path: Path) -> None:
    with served(ScriptedServicer(author, model="cd" * 32)) as server:
        assert run_job(request_for(store, server.address), tmp_path) == 65
    assert "serves cdcd" in said(tmp_path)
    assert f"not {MODEL[:12]}" in said(tmp_path)


class ChangedStudent(ScriptedServicer):
    """Another model takes its place after three answers."""

    def Generate(self, request: GenerateRequest, context: grpc.ServicerContext) -> GenerateResponse:
        response = super().Generate(request, context)
        if len(self.requests) > 3:
            response.model_sha256 = "cd" * 32
        return response


def test_a_student_that_becomes_another_model_ends_the_run(store: Store, tmp_path: Path) -> None:
    with served(ChangedStudent(author)) as server:
        assert run_job(request_for(store, server.address), tmp_path) == 65
    assert "cdcd" in said(tmp_path)


def test_a_student_that_nobody_can_reach_is_temporary_after_some_patience(store: Store, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert run_job(request_for(store, address), tmp_path, STILLHOUSE_STUDENT_WAIT_SECONDS="0.5") == 75
    assert address in said(tmp_path)


def test_a_student_that_goes_away_is_temporary_and_the_same_request_goes_on(store: Store, tmp_path: Path) -> None:
    student = ScriptedServicer(author)
    with served(student) as server:
        port = server.port
        student.script = leaving(student, server.stop, after=4)
        request = request_for(store, server.address)
        assert run_job(request, tmp_path, STILLHOUSE_STUDENT_WAIT_SECONDS="1") == 75
    paid = len(kept_answers(store))
    back = ScriptedServicer(author)
    with served(back, ServerConfig(port=port)):
        assert run_job(request, tmp_path) == 0
    assert paid >= 4
    assert len(back.requests) == result_of(store, request).calls - paid


def test_a_student_that_comes_back_in_time_is_waited_for(store: Store, tmp_path: Path) -> None:
    student = ScriptedServicer(author)
    back = ScriptedServicer(author)
    with served(student) as server:
        gone = threading.Event()

        def leave(grace: float) -> None:
            server.stop(grace)
            gone.set()

        student.script = leaving(student, leave, after=4)
        job = start_job("stillhouse.optimizer", request_for(store, server.address), tmp_path)
        assert gone.wait(60)
        with served(back, ServerConfig(port=server.port)):
            assert job.wait(timeout=120) == 0
    assert back.requests


def leaving(student: ScriptedServicer, leave: Callable[[float], object], *, after: int) -> Callable[[str], str]:
    """Answers until the server goes away without a word."""
    left = threading.Event()

    def script(text: str) -> str:
        if len(student.requests) > after:
            if not left.is_set():
                left.set()
                threading.Thread(target=leave, args=(0,)).start()
            raise Unavailable("going")
        return author(text)

    return script


class SlowStudent(ScriptedServicer):
    """Every third call takes too long."""

    calls = 0

    def Generate(self, request: GenerateRequest, context: grpc.ServicerContext) -> GenerateResponse:
        self.calls += 1
        if self.calls % 3 == 0:
            raise DeadlineExceeded("the answer took longer than its caller waits")
        return super().Generate(request, context)


def test_a_student_that_times_out_on_every_third_call_is_asked_again(store: Store, tmp_path: Path) -> None:
    student = SlowStudent(author)
    with served(student) as server:
        request = request_for(store, server.address)
        assert run_job(request, tmp_path) == 0
    result = result_of(store, request)
    assert result.calls == len(student.requests) == len(kept_answers(store))
    assert result.baseline_valid_rate == 1.0


def test_a_student_that_answers_nothing_is_permanent_before_any_trial(store: Store, tmp_path: Path) -> None:
    student = ScriptedServicer(lambda text: "")
    with served(student) as server:
        assert run_job(request_for(store, server.address), tmp_path) == 65
    assert "0 of 5 answers" in said(tmp_path)
    assert "no answer 5" in said(tmp_path)
    assert len(student.requests) == 5
