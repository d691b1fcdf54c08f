"""A served student as a teacher: over gRPC on localhost, and a GGUF file in a server process of its own."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
import pytest

from gguf_fixture import tiny_gguf
from scripted_student_server import MODEL, ScriptedServicer, certificate_in, served
from scripted_teacher import question
from stillhouse.errors import Cancelled, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unavailable
from stillhouse.roles.role import Message
from stillhouse.rpc.server import ServerConfig
from stillhouse.teachers.opening import open_teacher
from stillhouse.teachers.teacher import FinishReason, Question, Teacher
from stillhouse.v1 import student_inference_pb2 as pb
from stillhouse.v1 import student_inference_pb2_grpc
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.teacher_pb2 import TeacherModel

ResultT = TypeVar("ResultT")
SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}


def _run(reference: TeacherModel, environ: dict[str, str], work: Callable[[Teacher], Awaitable[ResultT]]) -> ResultT:
    async def run() -> ResultT:
        teacher = await open_teacher(reference, environ)
        try:
            return await work(teacher)
        finally:
            await teacher.close()

    return asyncio.run(run())


def _reference(port: int, **fields: Any) -> TeacherModel:
    return TeacherModel(provider="student", endpoint=f"localhost:{port}", **fields)


def test_a_student_is_known_by_its_digest_and_asked_as_a_chat() -> None:
    servicer = ScriptedServicer(lambda text: text.upper())
    asked = Question(
        (Message("system", "s"), Message("user", "hello")), max_output_tokens=64, temperature=0.9, seed=2**40
    )
    with served(servicer) as server:
        found, identity, slots = _run(_reference(server.port), {}, lambda t: _ask_and_facts(t, asked))
    assert (found.text, found.finish_reason, found.prompt_tokens) == ("HELLO", FinishReason.STOP, 10)
    assert (identity, slots) == (f"student:sha256:{MODEL}", 1)
    [request] = servicer.requests
    assert [each.role for each in request.chat.messages] == ["system", "user"]
    assert (request.sampling.max_tokens, request.sampling.temperature) == (64, 0.9)
    assert request.sampling.seed < 2**31
    assert request.constraint.WhichOneof("kind") is None


def test_a_structured_question_is_held_to_its_schema() -> None:
    servicer = ScriptedServicer(lambda _: '{"a": true}')
    with served(servicer) as server:
        _run(_reference(server.port), {}, lambda t: t.ask(question(response_schema=SCHEMA), deadline_seconds=20))
    assert json.loads(servicer.requests[0].constraint.json_schema) == SCHEMA


def test_no_text_is_empty() -> None:
    with served(ScriptedServicer(lambda _: " ")) as server:
        found = _run(_reference(server.port), {}, lambda t: t.ask(question(), deadline_seconds=20))
    assert found.finish_reason is FinishReason.EMPTY


def test_another_student_than_the_one_that_is_named_is_refused() -> None:
    with served(ScriptedServicer(str.upper)) as server:
        with pytest.raises(FailedPrecondition, match="not sha256:cdcd"):
            asyncio.run(open_teacher(_reference(server.port, model="sha256:" + "cd" * 32), {}))
        assert _run(_reference(server.port, model=MODEL), {}, _identity).endswith(MODEL)


def test_a_student_that_changes_its_model_is_not_believed() -> None:
    servicer = ScriptedServicer(str.upper)

    async def work(teacher: Teacher) -> None:
        servicer.model = "cd" * 32
        await teacher.ask(question(), deadline_seconds=20)

    with served(servicer) as server, pytest.raises(FailedPrecondition, match="by now"):
        _run(_reference(server.port), {}, work)


def test_a_student_that_names_no_model_is_refused_since_its_answers_could_be_anyones() -> None:
    nameless = served(ScriptedServicer(str.upper, model=""))
    with nameless as server, pytest.raises(FailedPrecondition, match="does not say which model"):
        asyncio.run(open_teacher(_reference(server.port), {}))


def test_one_question_is_one_call() -> None:
    class Away(student_inference_pb2_grpc.StudentInferenceServiceServicer):
        calls = 0

        async def GetModelInfo(self, request: pb.GetModelInfoRequest, context: Any) -> pb.GetModelInfoResponse:
            return pb.GetModelInfoResponse(model=Artifact(sha256=MODEL))

        async def Generate(self, request: pb.GenerateRequest, context: Any) -> pb.GenerateResponse:
            self.calls += 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
            raise AssertionError("abort raises")

    async def run() -> int:
        # An asynchronous server: what it refuses, a channel that retries would ask again.
        servicer, server = Away(), grpc.aio.server()
        student_inference_pb2_grpc.add_StudentInferenceServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        teacher = await open_teacher(_reference(port), {})
        with pytest.raises(Unavailable, match="not now"):
            await teacher.ask(question(), deadline_seconds=20)
        await teacher.close()
        await server.stop(0)
        return servicer.calls

    assert asyncio.run(run()) == 1


def test_a_call_that_the_server_cancels_is_one_that_may_be_made_again() -> None:
    def cancel(_: str) -> str:
        raise Cancelled("the server ends")

    with served(ScriptedServicer(cancel)) as server, pytest.raises(Unavailable, match="the server ends"):
        _run(_reference(server.port), {}, lambda t: t.ask(question(), deadline_seconds=20))


def test_a_student_with_tls_and_token_is_let_in_from_the_environment(tmp_path: Path) -> None:
    certificate, key = certificate_in(tmp_path)
    config = ServerConfig(port=0, tls_certificate=certificate, tls_key=key, token="secret")
    environ = {"STILLHOUSE_STUDENT_CA": str(certificate), "STILLHOUSE_STUDENT_TOKEN": "secret"}
    with served(ScriptedServicer(str.upper), config) as server:
        assert _run(_reference(server.port), environ, _identity) == f"student:sha256:{MODEL}"
        with pytest.raises(PermissionDenied):
            asyncio.run(open_teacher(_reference(server.port), {**environ, "STILLHOUSE_STUDENT_TOKEN": "wrong"}))


def test_a_student_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="localhost:9"):
        asyncio.run(open_teacher(_reference(9), {}))
    with pytest.raises(InvalidArgument, match="HOST:PORT"):
        asyncio.run(open_teacher(TeacherModel(provider="student"), {}))


def test_a_gguf_file_answers_from_a_server_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    path = tiny_gguf(tmp_path)
    reference = TeacherModel(provider="gguf", model=str(path), max_output_tokens=64, concurrency=2)
    asked = question(response_schema=SCHEMA, max_output_tokens=64)
    environ = {**os.environ, "STILLHOUSE_THREADS": "1", "STILLHOUSE_TOKEN": "not for this one"}
    found, identity, slots = _run(reference, environ, lambda t: _ask_and_facts(t, asked))
    assert set(json.loads(found.text)) == {"a"}
    assert identity == f"gguf:sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert slots == 2


def test_a_file_that_is_no_model_is_refused_with_the_servers_words(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such GGUF file"):
        asyncio.run(open_teacher(TeacherModel(provider="gguf", model=str(tmp_path / "none.gguf")), os.environ))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"nothing")
    with pytest.raises(FailedPrecondition, match="GGUF"):
        asyncio.run(open_teacher(TeacherModel(provider="gguf", model=str(broken)), os.environ))


async def _ask_and_facts(teacher: Teacher, asked: Question) -> tuple[Any, str, int | None]:
    return await teacher.ask(asked, deadline_seconds=60), teacher.identity, teacher.slots


async def _identity(teacher: Teacher) -> str:
    return teacher.identity
