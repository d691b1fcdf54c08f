"""A served student as a DSPy language model: `dspy.configure(lm=student_lm("localhost:50051"))`.

Called by users' DSPy programs and by the optimizer. The only module of the client that imports dspy (370 MB, 2 s).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
from dspy import lm15

from stillhouse.client.student import (
    DEFAULT_DEADLINE_SECONDS,
    GenerationOptions,
    RolePrompt,
    StudentAnswer,
    StudentClient,
)
from stillhouse.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    StillhouseError,
    Unavailable,
)
from stillhouse.roles.role import Message, Role, load_role

_PASSED_ON = ("temperature", "top_p", "top_k", "max_tokens", "seed", "frequency_penalty", "presence_penalty")
_REFUSED = ("reasoning", "logprobs", "probabilities", "tool_choice", "service_tier", "store")


def student_lm(
    address: str,
    *,
    token: str | None = None,
    ca: Path | None = None,
    role_grammar: str | None = None,
    shared_prefix: bool = False,
    deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    **settings: Any,
) -> dspy.LM:
    """A `dspy.LM` that the student at `address` (HOST:PORT) answers.

    The model's name is `stillhouse/sha256:HEX`, so that caches and logs keyed by it never mix two students; an answer
    by another model than the one found here is refused. `role_grammar` names a role: answers to its prompts, under any
    instructions, are held to its grammar, other answers are not. `shared_prefix` is for many rows at a time: their
    instructions and demos are read once for all slots, if all are free when the first comes. `settings` are those
    of `dspy.LM` (temperature, max_tokens, cache, num_retries, ...). Raises the errors of `stillhouse.errors` where
    the student cannot be reached.
    """
    client = StudentClient(address, token=token, ca=ca)
    engine = StudentEngine(
        client,
        model_sha256=client.info().model.sha256,
        role=load_role(role_grammar) if role_grammar else None,
        shared_prefix=shared_prefix,
        deadline_seconds=deadline_seconds,
    )
    return dspy.LM(engine.model, engine=engine, async_engine=AsyncStudentEngine(engine), **settings)


class StudentEngine:
    """One attempt to answer one `dspy.lm15.Request`; cache, retries and history are DSPy's."""

    supports_response_schema = True
    supported_params = frozenset({*_PASSED_ON, "stop", "response_format"})

    def __init__(
        self,
        client: StudentClient,
        *,
        model_sha256: str,
        role: Role | None = None,
        shared_prefix: bool = False,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    ) -> None:
        """`model_sha256` is the student that must answer; answers to prompts of `role` are held to its grammar."""
        self._client = client
        self._sha256 = model_sha256
        self._role = role
        self._shared_prefix = shared_prefix
        self._deadline_seconds = deadline_seconds
        held = f"/{role.name}-grammar-{role.version}" if role is not None else ""
        self.model = f"stillhouse/sha256:{model_sha256}{held}"

    def complete(self, request: lm15.Request) -> lm15.Response:
        """The answer. Raises dspy.lm15's errors, which tell DSPy what may be tried again."""
        messages, options = self._question(request)
        try:
            answer = self._client.generate(messages, options, deadline_seconds=self._deadline_seconds)
            return self._response(answer)
        except StillhouseError as exc:
            raise _lm15_error(exc) from exc

    async def complete_async(self, request: lm15.Request) -> lm15.Response:
        """As `complete`, without blocking the event loop."""
        messages, options = self._question(request)
        try:
            answer = await self._client.generate_async(messages, options, deadline_seconds=self._deadline_seconds)
            return self._response(answer)
        except StillhouseError as exc:
            raise _lm15_error(exc) from exc

    def stream(self, request: lm15.Request) -> Iterator[lm15.StreamEvent]:
        """The answer as events."""
        messages, options = self._question(request)
        yield lm15.StreamStartEvent(model=self.model)
        try:
            for piece in self._client.stream(messages, options, deadline_seconds=self._deadline_seconds):
                if isinstance(piece, str):
                    yield lm15.StreamDeltaEvent(delta=lm15.TextDelta(text=piece))
                else:
                    whole = self._response(piece)
                    yield lm15.StreamEndEvent(finish_reason=whole.finish_reason, usage=whole.usage)
        except StillhouseError as exc:
            raise _lm15_error(exc) from exc

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def _question(self, request: lm15.Request) -> tuple[list[Message], GenerationOptions]:
        messages = request_messages(request)
        options = replace(_options(request), shared_prefix=self._shared_prefix)
        if self._role is not None and options.json_schema is None:
            inputs = self._role.inputs_of(messages)
            if inputs is not None:
                options = replace(options, role_grammar=RolePrompt(self._role.name, inputs))
        return messages, options

    def dump_state(self) -> dict[str, Any]:
        """For `program.save`: where the student was and which it was, no credentials."""
        return {
            "address": self._client.address,
            "model_sha256": self._sha256,
            "role_grammar": self._role.name if self._role is not None else None,
            "shared_prefix": self._shared_prefix,
            "deadline_seconds": self._deadline_seconds,
        }

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> StudentEngine:
        """For `dspy.load`. Where the server needs TLS or a token, set the LM anew with `student_lm` instead."""
        return cls(
            StudentClient(state["address"]),
            model_sha256=state["model_sha256"],
            role=load_role(state["role_grammar"]) if state.get("role_grammar") else None,
            shared_prefix=state.get("shared_prefix", False),
            deadline_seconds=state["deadline_seconds"],
        )

    def _response(self, answer: StudentAnswer) -> lm15.Response:
        if answer.model_sha256 != self._sha256:
            raise FailedPrecondition(
                f"{self._client.address} now serves sha256:{answer.model_sha256[:12]}, not sha256:{self._sha256[:12]}; "
                "make the language model anew with student_lm"
            )
        return lm15.Response(
            id=None,
            model=self.model,
            message=lm15.Message.assistant(answer.text),
            finish_reason="length" if answer.finish_reason == "length" else "stop",
            usage=lm15.Usage(
                input_tokens=answer.prompt_tokens,
                output_tokens=answer.completion_tokens,
                cache_read_tokens=answer.cached_tokens,
            ),
        )


class AsyncStudentEngine:
    """The same engine for DSPy's asynchronous calls."""

    def __init__(self, engine: StudentEngine) -> None:
        """Shares the connection of `engine`."""
        self._engine = engine

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """See StudentEngine.complete."""
        return await self._engine.complete_async(request)

    async def stream(self, request: lm15.Request) -> AsyncIterator[lm15.StreamEvent]:
        """The whole answer as events."""
        for event in lm15.response_to_events(await self._engine.complete_async(request)):
            yield event

    async def aclose(self) -> None:
        """Closes the connection."""
        self._engine.close()

    def dump_state(self) -> dict[str, Any]:
        """See StudentEngine.dump_state."""
        return self._engine.dump_state()

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> AsyncStudentEngine:
        """See StudentEngine.load_state."""
        return cls(StudentEngine.load_state(state))


def request_messages(request: lm15.Request) -> list[Message]:
    """The request's text as chat messages. Raises lm15.UnsupportedFeatureError for anything but text."""
    messages = [Message("system", _text(request.system))] if request.system is not None else []
    for message in request.messages:
        if message.role == "tool":
            raise lm15.UnsupportedFeatureError("a student takes no tool results")
        role = "system" if message.role == "developer" else message.role
        messages.append(Message(role, _text(message.parts)))
    return messages


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    for part in content:
        if part.type != "text":
            raise lm15.UnsupportedFeatureError(f"a student reads text only, not {part.type}")
    return "".join(part.text for part in content)


def _options(request: lm15.Request) -> GenerationOptions:
    config = request.config
    refused = [name for name in _REFUSED if getattr(config, name, None) is not None]
    if request.tools or refused or config.extensions:
        named = [*(["tools"] if request.tools else []), *refused, *(config.extensions or {})]
        raise lm15.UnsupportedFeatureError(f"a student does not take {', '.join(named)}")
    given = {name: getattr(config, name) for name in _PASSED_ON}
    return GenerationOptions(**given, stop=tuple(config.stop), json_schema=_schema(config.response_format))


def _schema(response_format: Mapping[str, Any] | None) -> str | None:
    if response_format is None:
        return None
    return json.dumps(response_format.get("schema", {"type": "object"}))


def _lm15_error(error: StillhouseError) -> lm15.LM15Error:
    """The error in DSPy's own classes, which decide what it tries again."""
    retry_after = getattr(error, "retry_after_seconds", None)
    if isinstance(error, ResourceExhausted):
        return lm15.RateLimitError(error.message, retry_after=retry_after)
    if isinstance(error, DeadlineExceeded):
        return lm15.TimeoutError(error.message)
    if isinstance(error, Unavailable):
        return lm15.TransportError(error.message, retry_after=retry_after)
    if isinstance(error, PermissionDenied):
        return lm15.AuthError(error.message)
    if isinstance(error, InvalidArgument) and error.field == "prompt":
        return lm15.ContextLengthError(error.message)
    return lm15.InvalidRequestError(error.message)
