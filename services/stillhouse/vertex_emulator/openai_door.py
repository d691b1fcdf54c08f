"""The HTTP door: OpenAI's chat completions with the same answers, quota, faults and bill; and the bill itself.

Called by the server. For the libraries that speak nothing else.
"""

from __future__ import annotations

import hmac
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from aiohttp import web

from stillhouse.errors import InvalidArgument, NotFound, ResourceExhausted, StillhouseError, Unavailable
from stillhouse.roles.role import Message
from stillhouse.rpc.config import DEFAULT_MESSAGE_BYTES
from stillhouse.vertex_emulator.answers import EmulatedAnswer
from stillhouse.vertex_emulator.desk import Desk
from stillhouse.vertex_emulator.faults import Ending
from stillhouse.vertex_emulator.prompt import Prompt, json_schema
from stillhouse.vertex_emulator.wire import known_model

MODELS = ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite")

_FINISH = {
    Ending.STOP: "stop",
    Ending.LENGTH: "length",
    Ending.SAFETY: "content_filter",
    Ending.RECITATION: "content_filter",
    Ending.EMPTY: "stop",
}
_STATUS: dict[type[StillhouseError], int] = {
    InvalidArgument: 400,
    NotFound: 404,
    ResourceExhausted: 429,
    Unavailable: 503,
}
_READ = frozenset(
    {
        "model",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "seed",
        "response_format",
        "reasoning_effort",
        "stream",
        "stream_options",
        "n",
        "user",
    }
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(desk: Desk, token: str | None) -> web.Application:
    """POST /v1/chat/completions, GET /v1/models, GET /stats; all of them want the token where there is one."""
    door = _Door(desk)

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if token is not None and not _admits(request, token):
            desk.bill.traffic.unauthenticated += 1
            return _error(401, "the bearer token is missing or wrong; send `authorization: Bearer TOKEN`")
        try:
            return await handler(request)
        except StillhouseError as exc:
            return _refusal(exc)
        except web.HTTPException:
            raise
        except Exception as exc:
            structlog.get_logger("stillhouse.vertex_emulator").error("call failed unexpectedly", exc_info=exc)
            return _error(500, f"Internal error encountered ({type(exc).__name__}).")

    app = web.Application(middlewares=[guarded], client_max_size=DEFAULT_MESSAGE_BYTES)
    app.router.add_post("/v1/chat/completions", door.chat_completions)
    app.router.add_get("/v1/models", door.models)
    app.router.add_get("/stats", door.stats)
    return app


def prompt_of(body: Any) -> Prompt:
    """A chat completion's request as a prompt. Raises InvalidArgument naming the field, or NotFound for the model."""
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        raise InvalidArgument("messages must be a list of at least one message", field="messages")
    if body.get("n") not in (None, 1):
        raise InvalidArgument("only one choice is offered: n must be 1", field="n")
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise InvalidArgument("max_tokens must be at least 1", field="max_tokens")
    rest = {name: value for name, value in sorted(body.items()) if name not in _READ}
    messages = tuple(map(_message, body["messages"]))
    if messages[-1].role != "user":
        raise InvalidArgument("the last message must be the user's", field="messages")
    return Prompt(
        model=known_model(str(body.get("model", ""))),
        messages=messages,
        schema=_schema(body.get("response_format")),
        max_output_tokens=limit,
        thinking_budget=0 if body.get("reasoning_effort") in ("none", "disable") else None,
        temperature=_number(body, "temperature"),
        seed=body.get("seed"),
        extra=json.dumps(rest) if rest else "",
    )


class _Door:
    """The three handlers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def chat_completions(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
        except ValueError as exc:
            raise InvalidArgument(f"the body is no JSON: {exc}") from exc
        prompt = prompt_of(body)
        if body.get("stream"):
            return await self._streamed(request, prompt)
        answer = await self._desk.answer(prompt)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": answer.text},
            "finish_reason": _FINISH[answer.ending],
        }
        return web.json_response({**_head(prompt, "chat.completion"), "choices": [choice], "usage": _usage(answer)})

    async def _streamed(self, request: web.Request, prompt: Prompt) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})
        async for piece, answer in self._desk.stream(prompt):
            if not response.prepared:
                await response.prepare(request)
            finish = None if answer is None else _FINISH[answer.ending]
            choice = {"index": 0, "delta": {"role": "assistant", "content": piece}, "finish_reason": finish}
            event = {**_head(prompt, "chat.completion.chunk"), "choices": [choice]}
            if answer is not None:
                event["usage"] = _usage(answer)
            await response.write(f"data: {json.dumps(event)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    async def models(self, _: web.Request) -> web.Response:
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "stillhouse"} for name in MODELS]
        return web.json_response({"object": "list", "data": listed})

    async def stats(self, _: web.Request) -> web.Response:
        return web.json_response(self._desk.bill.snapshot())


def _admits(request: web.Request, token: str) -> bool:
    given = request.headers.get("authorization", "")
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), f"Bearer {token}".encode())


def _message(message: Any) -> Message:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "\n".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str) or message.get("role") not in ("system", "developer", "user", "assistant"):
        raise InvalidArgument("a message needs role (system, user, assistant) and content as text", field="messages")
    return Message("system" if message["role"] == "developer" else message["role"], content)


def _schema(wanted: Any) -> Mapping[str, Any] | None:
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None
    schema = wanted.get("json_schema")
    if not isinstance(schema, dict) or not isinstance(schema.get("schema"), dict):
        raise InvalidArgument("response_format.json_schema.schema is missing", field="response_format")
    return json_schema(schema["schema"])


def _number(body: Mapping[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is not None and not isinstance(value, int | float):
        raise InvalidArgument(f"{name} must be a number", field=name)
    return value


def _head(prompt: Prompt, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{prompt.digest[:24]}", "object": kind, "created": 0, "model": prompt.model}


def _usage(answer: EmulatedAnswer) -> dict[str, Any]:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.prompt_tokens + answer.output_tokens,
        "completion_tokens_details": {"reasoning_tokens": answer.thinking_tokens},
    }


def _refusal(error: StillhouseError) -> web.Response:
    headers = {}
    seconds = getattr(error, "retry_after_seconds", None)
    if seconds is not None:
        headers = {"retry-after": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}
    return _error(_STATUS.get(type(error), 500), error.message, headers)


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    body = {"error": {"message": message, "type": "invalid_request_error" if status < 429 else "server_error"}}
    return web.json_response(body, status=status, headers=headers)
