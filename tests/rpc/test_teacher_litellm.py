"""The litellm teacher against a real OpenAI-compatible server on localhost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, TypeVar

import pytest
from aiohttp import web

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

ResultT = TypeVar("ResultT")
Reply = Callable[[Mapping[str, Any]], Awaitable[web.Response]]


@asynccontextmanager
async def openai_server(reply: Reply) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """Its base URL, and the bodies that it was asked with."""
    bodies: list[dict[str, Any]] = []

    async def complete(request: web.Request) -> web.Response:
        body = await request.json()
        bodies.append(body)
        return await reply(body)

    application = web.Application()
    application.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", bodies
    finally:
        await runner.cleanup()


def _completion(text: str | None, finish_reason: str = "stop", *, reasoning: int = 0) -> web.Response:
    return web.json_response(
        {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [
                {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}}
            ],
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 5 + reasoning,
                "total_tokens": 14 + reasoning,
                "completion_tokens_details": {"reasoning_tokens": reasoning},
            },
        }
    )


def _error(status: int, message: str, *, code: str | None = None, headers: Mapping[str, str] | None = None) -> Reply:
    kind = "invalid_request_error" if status == 400 else "server_error"

    async def reply(_: object) -> web.Response:
        tree = {"error": {"message": message, "type": kind, "code": code}}
        return web.json_response(tree, status=status, headers=headers)

    return reply


def _always(*arguments: Any, **options: Any) -> Reply:
    async def reply(_: object) -> web.Response:
        return _completion(*arguments, **options)

    return reply


def _run(reply: Reply, work: Callable[[Teacher, list[dict[str, Any]]], Awaitable[ResultT]]) -> ResultT:
    async def run() -> ResultT:
        async with openai_server(reply) as (url, bodies):
            teacher = await open_teacher(TeacherModel(provider="litellm", model="openai/m", endpoint=url), {})
            try:
                return await work(teacher, bodies)
            finally:
                await teacher.close()

    return asyncio.run(run())


def _ask(reply: Reply, asked: Question | None = None, deadline_seconds: float = 20.0) -> Answer:
    return _run(reply, lambda teacher, _: teacher.ask(asked or question(), deadline_seconds=deadline_seconds))


def test_a_question_and_its_answer_travel() -> None:
    asked = Question((Message("system", "s"), Message("user", "u")), max_output_tokens=77, temperature=0.5, seed=3)

    async def work(teacher: Teacher, bodies: list[dict[str, Any]]) -> tuple[Answer, dict[str, Any], str]:
        return await teacher.ask(asked, deadline_seconds=20.0), bodies[0], teacher.identity

    found, body, identity = _run(_always("Grüße", reasoning=4), work)
    assert found == Answer("Grüße", FinishReason.STOP, 9, 5, 4)
    assert body["messages"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    assert (body["model"], body["max_tokens"], body["temperature"], body["seed"]) == ("m", 77, 0.5, 3)
    assert identity == "litellm@127.0.0.1:openai/m"


def test_a_structured_question_carries_its_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}

    async def work(teacher: Teacher, bodies: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
        return (await teacher.ask(question(response_schema=schema), deadline_seconds=20.0)).text, bodies[0]

    text, body = _run(_always('{"a": "b"}'), work)
    assert json.loads(text) == {"a": "b"}
    assert body["response_format"]["json_schema"]["schema"] == schema


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("x", "length", FinishReason.LENGTH),
        (None, "content_filter", FinishReason.BLOCKED),
        ("", "stop", FinishReason.EMPTY),
        (None, "stop", FinishReason.EMPTY),
    ],
)
def test_endings_are_told_apart(text: str | None, given: str, expected: FinishReason) -> None:
    assert _ask(_always(text, given)).finish_reason is expected


def test_a_refusal_for_its_content_is_a_blocked_answer() -> None:
    message = "Your request was rejected as a result of our safety system. content_policy_violation"
    found = _ask(_error(400, message, code="content_policy_violation"))
    assert found.finish_reason is FinishReason.BLOCKED
    assert "safety system" in found.detail


def test_429_carries_when_to_try_again() -> None:
    with pytest.raises(ResourceExhausted) as caught:
        _ask(_error(429, "slow down", headers={"Retry-After": "3.5"}))
    assert caught.value.retry_after_seconds == 3.5
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    with pytest.raises(ResourceExhausted) as caught:
        _ask(_error(429, "slow down", headers={"Retry-After": later}))
    assert caught.value.retry_after_seconds == pytest.approx(3300, abs=300)
    with pytest.raises(ResourceExhausted) as caught:
        _ask(_error(429, "slow down"))
    assert caught.value.retry_after_seconds is None


def test_an_account_without_credit_is_not_asked_again() -> None:
    with pytest.raises(FailedPrecondition, match="no credit"):
        _ask(_error(429, "You exceeded your current quota: insufficient_quota", code="insufficient_quota"))


@pytest.mark.parametrize(
    ("status", "expected", "words"),
    [
        (401, PermissionDenied, "OPENAI_API_KEY"),
        (403, PermissionDenied, "OPENAI_API_KEY"),
        (404, NotFound, "'openai/m'"),
        (400, InvalidArgument, "broken"),
        (422, InvalidArgument, "broken"),
        (500, Unavailable, "broken"),
        (502, Unavailable, "broken"),
        (503, Unavailable, "broken"),
    ],
)
def test_errors_come_in_our_tree(status: int, expected: type[StillhouseError], words: str) -> None:
    with pytest.raises(expected) as caught:
        _ask(_error(status, "broken"))
    assert type(caught.value) is expected
    assert words in caught.value.message


def test_one_question_is_one_call() -> None:
    async def work(teacher: Teacher, bodies: list[dict[str, Any]]) -> int:
        with pytest.raises(Unavailable):
            await teacher.ask(question(), deadline_seconds=20.0)
        return len(bodies)

    assert _run(_error(500, "broken"), work) == 1


def test_a_server_that_stalls_exceeds_the_deadline() -> None:
    async def stall(_: object) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    with pytest.raises(DeadlineExceeded, match=r"within 0\.3 s"):
        _ask(stall, deadline_seconds=0.3)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    async def run() -> None:
        model = TeacherModel(provider="litellm", model="openai/m", endpoint="http://127.0.0.1:9/v1")
        teacher = await open_teacher(model, {})
        try:
            await teacher.ask(question(), deadline_seconds=10.0)
        finally:
            await teacher.close()

    with pytest.raises(Unavailable):
        asyncio.run(run())


def test_a_model_of_no_known_provider_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="ollama/llama"):
        asyncio.run(open_teacher(TeacherModel(provider="litellm", model="nothing-anybody-knows"), {}))
