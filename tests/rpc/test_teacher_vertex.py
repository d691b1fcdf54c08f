"""The Vertex teacher against a real gRPC server on localhost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from google.cloud.aiplatform_v1.types import (
    Candidate,
    Content,
    GenerateContentResponse,
    HarmCategory,
    Part,
    SafetyRating,
    Type,
)
from google.rpc import code_pb2

from scripted_teacher import question
from stillhouse.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    StillhouseError,
    Unavailable,
)
from stillhouse.roles.role import Message
from stillhouse.teachers.opening import open_teacher
from stillhouse.teachers.teacher import Answer, FinishReason, Question, Teacher
from stillhouse.v1.teacher_pb2 import TeacherModel
from vertex_fixture import Refusal, Reply, VertexServer, text_response, vertex_server

ResultT = TypeVar("ResultT")
FLASH = "gemini-2.5-flash"
Finish = Candidate.FinishReason


def _run(reply: Reply, work: Callable[[Teacher, VertexServer], Awaitable[ResultT]], **model: Any) -> ResultT:
    """Runs `work` with a teacher of a server that replies so, over plain text."""

    async def run() -> ResultT:
        async with vertex_server(reply) as server:
            reference = TeacherModel(
                provider="vertex", model=FLASH, endpoint=f"http://127.0.0.1:{server.port}", **model
            )
            teacher = await open_teacher(reference, {})
            try:
                return await work(teacher, server)
            finally:
                await teacher.close()

    return asyncio.run(run())


def _ask(reply: Reply, asked: Question | None = None, deadline_seconds: float = 20.0) -> Answer:
    return _run(reply, lambda teacher, _: teacher.ask(asked or question(), deadline_seconds=deadline_seconds))


def _refusing(code: int, message: str, **options: Any) -> Reply:
    def reply(_: object) -> GenerateContentResponse:
        raise Refusal(code, message, **options)

    return reply


def _ending(reason: Finish, text: str = "", **options: Any) -> Reply:
    candidate = Candidate(content=Content(parts=[Part(text=text)] if text else []), finish_reason=reason, **options)
    return lambda _: GenerateContentResponse(candidates=[candidate])


def test_a_question_arrives_as_gemini_wants_it() -> None:
    asked = Question(
        messages=(
            Message("system", "Be brief."),
            Message("user", "A?"),
            Message("assistant", "B."),
            Message("user", "C?"),
        ),
        max_output_tokens=500,
        temperature=0.25,
        seed=2**31 + 5,
        thinking_budget=0,
    )

    async def work(teacher: Teacher, server: VertexServer) -> VertexServer:
        await teacher.ask(asked, deadline_seconds=20.0)
        return server

    server = _run(lambda _: text_response("D."), work, project="mine", location="europe-west4")
    [request] = server.requests
    assert request.model == f"projects/mine/locations/europe-west4/publishers/google/models/{FLASH}"
    assert request.system_instruction.parts[0].text == "Be brief."
    assert [(each.role, each.parts[0].text) for each in request.contents] == [
        ("user", "A?"),
        ("model", "B."),
        ("user", "C?"),
    ]
    config = request.generation_config
    assert (config.max_output_tokens, config.temperature, config.seed) == (500, 0.25, 5)
    assert config.thinking_config.thinking_budget == 0
    assert "thinking_budget" in config.thinking_config
    assert server.deadlines[0] is not None
    assert server.deadlines[0] <= 20.0
    assert server.metadata[0]["x-goog-request-params"].endswith(FLASH)


def test_without_a_thinking_budget_the_model_decides() -> None:
    async def work(teacher: Teacher, server: VertexServer) -> bool:
        await teacher.ask(question(), deadline_seconds=20.0)
        return "thinking_config" in server.requests[0].generation_config

    assert _run(lambda _: text_response("x"), work) is False


def test_an_answer_comes_with_its_tokens_thinking_apart() -> None:
    found = _ask(lambda _: text_response("Héllo 数", prompt=12, output=3, thoughts=40))
    assert found == Answer("Héllo 数", FinishReason.STOP, 12, 3, 40)


def test_thoughts_are_not_part_of_the_text() -> None:
    def reply(_: object) -> GenerateContentResponse:
        parts = [Part(text="hm", thought=True), Part(text="one "), Part(text="two")]
        return GenerateContentResponse(candidates=[Candidate(content=Content(parts=parts), finish_reason=Finish.STOP)])

    assert _ask(reply).text == "one two"


def test_a_structured_question_carries_its_schema() -> None:
    schema = {
        "type": "object",
        "properties": {
            "status": {"type": "string", "enum": ["aligned", "misaligned"], "description": "The verdict."},
            "gaps": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["status"],
    }

    async def work(teacher: Teacher, server: VertexServer) -> tuple[str, VertexServer]:
        found = await teacher.ask(question(response_schema=schema), deadline_seconds=20.0)
        return found.text, server

    text, server = _run(lambda _: text_response(json.dumps({"status": "aligned"})), work)
    assert json.loads(text) == {"status": "aligned"}
    config = server.requests[0].generation_config
    assert config.response_mime_type == "application/json"
    assert config.response_schema.type_ == Type.OBJECT
    assert list(config.response_schema.property_ordering) == ["status", "gaps"]
    assert list(config.response_schema.properties["status"].enum) == ["aligned", "misaligned"]
    assert config.response_schema.properties["gaps"].items.type_ == Type.STRING
    assert list(config.response_schema.required) == ["status"]


def test_a_schema_that_vertex_can_not_say_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="'pattern'"):
        _ask(lambda _: text_response("x"), question(response_schema={"type": "string", "pattern": "a+"}))


def test_an_answer_of_five_megabytes_arrives() -> None:
    assert len(_ask(lambda _: text_response("x" * 5_000_000)).text) == 5_000_000


def test_an_answer_of_17_megabytes_is_this_questions_error() -> None:
    with pytest.raises(InvalidArgument, match="may have 16777216 bytes"):
        _ask(lambda _: text_response("x" * 17 * 1024 * 1024))


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (Finish.MAX_TOKENS, FinishReason.LENGTH),
        (Finish.SAFETY, FinishReason.BLOCKED),
        (Finish.PROHIBITED_CONTENT, FinishReason.BLOCKED),
        (Finish.BLOCKLIST, FinishReason.BLOCKED),
        (Finish.SPII, FinishReason.BLOCKED),
        (Finish.RECITATION, FinishReason.RECITATION),
        (Finish.MALFORMED_FUNCTION_CALL, FinishReason.OTHER),
    ],
)
def test_endings_are_told_apart(reason: Finish, expected: FinishReason) -> None:
    found = _ask(_ending(reason))
    assert (found.finish_reason, found.detail) == (expected, reason.name)


def test_an_ending_that_is_newer_than_the_client_is_another() -> None:
    def reply(_: object) -> GenerateContentResponse:
        response = GenerateContentResponse.pb()()
        response.candidates.add().finish_reason = 77
        return GenerateContentResponse.wrap(response)

    found = _ask(reply)
    assert (found.finish_reason, found.detail) == (FinishReason.OTHER, "77")


def test_a_safety_block_names_its_category() -> None:
    rating = SafetyRating(category=HarmCategory.HARM_CATEGORY_DANGEROUS_CONTENT, blocked=True)
    found = _ask(_ending(Finish.SAFETY, safety_ratings=[rating]))
    assert found.detail == "SAFETY: HARM_CATEGORY_DANGEROUS_CONTENT"


def test_a_blocked_prompt_is_blocked() -> None:
    feedback = GenerateContentResponse.PromptFeedback(block_reason="PROHIBITED_CONTENT", block_reason_message="no")
    found = _ask(lambda _: GenerateContentResponse(prompt_feedback=feedback))
    assert (found.finish_reason, found.detail) == (FinishReason.BLOCKED, "prompt: PROHIBITED_CONTENT: no")


def test_no_candidate_and_no_text_are_empty() -> None:
    assert _ask(lambda _: GenerateContentResponse()).finish_reason is FinishReason.EMPTY
    assert _ask(_ending(Finish.STOP)).finish_reason is FinishReason.EMPTY
    assert _ask(_ending(Finish.STOP, " \n")).finish_reason is FinishReason.EMPTY


def test_429_carries_when_to_try_again() -> None:
    with pytest.raises(ResourceExhausted, match="quota") as caught:
        _ask(_refusing(code_pb2.RESOURCE_EXHAUSTED, "quota of the minute", retry_after_seconds=2.5))
    assert caught.value.retry_after_seconds == 2.5
    with pytest.raises(ResourceExhausted) as caught:
        _ask(_refusing(code_pb2.RESOURCE_EXHAUSTED, "quota"))
    assert caught.value.retry_after_seconds is None


@pytest.mark.parametrize(
    ("code", "expected", "words"),
    [
        (code_pb2.UNAVAILABLE, Unavailable, "overloaded"),
        (code_pb2.INTERNAL, Unavailable, "overloaded"),
        (code_pb2.ABORTED, Unavailable, "overloaded"),
        (code_pb2.CANCELLED, Unavailable, "overloaded"),
        (code_pb2.UNKNOWN, Unavailable, "overloaded"),
        (code_pb2.DEADLINE_EXCEEDED, DeadlineExceeded, "did not answer within 20 s"),
        (code_pb2.UNAUTHENTICATED, PermissionDenied, "https://"),
        (code_pb2.PERMISSION_DENIED, PermissionDenied, "https://"),
        (code_pb2.NOT_FOUND, NotFound, "locations/us-central1/publishers/google/models/gemini-2.5-flash"),
        (code_pb2.INVALID_ARGUMENT, InvalidArgument, "overloaded"),
        (code_pb2.FAILED_PRECONDITION, FailedPrecondition, "overloaded"),
    ],
)
def test_errors_come_in_our_tree(code: int, expected: type[StillhouseError], words: str) -> None:
    with pytest.raises(expected) as caught:
        _ask(_refusing(code, "overloaded"))
    assert type(caught.value) is expected
    assert words in caught.value.message


def test_one_question_is_one_call() -> None:
    async def work(teacher: Teacher, server: VertexServer) -> int:
        with pytest.raises(Unavailable):
            await teacher.ask(question(), deadline_seconds=20.0)
        return len(server.requests)

    assert _run(_refusing(code_pb2.UNAVAILABLE, "x"), work) == 1
