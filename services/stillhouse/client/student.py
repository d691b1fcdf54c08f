"""A client of a served student: one answer, an answer in pieces, or what is being served.

Called by the command line, by `client.dspy` and by users' programs; it must not know llama.cpp or any service's code.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

import grpc

from stillhouse.errors import InvalidArgument
from stillhouse.roles.role import Message
from stillhouse.rpc.channel import open_channel
from stillhouse.rpc.status import error_from_rpc
from stillhouse.v1 import student_inference_pb2 as pb
from stillhouse.v1 import student_inference_pb2_grpc

DEFAULT_DEADLINE_SECONDS = 300.0
_INFO_DEADLINE_SECONDS = 30.0
_FINISH_REASONS = {pb.FINISH_REASON_STOP: "stop", pb.FINISH_REASON_LENGTH: "length"}


@dataclass(frozen=True)
class RolePrompt:
    """A role's inputs; the server renders the role's own prompt from them."""

    role: str
    inputs: Mapping[str, str]


Prompt: TypeAlias = str | Sequence[Message] | RolePrompt
"""Text that is tokenized as it is; chat messages; or a role's inputs."""


@dataclass(frozen=True)
class GenerationOptions:
    """How an answer is drawn and what it is held to; None leaves the server's default. At most one constraint."""

    temperature: float | None = None
    """0 is greedy, and the server's default."""
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    cache_prompt: bool | None = None
    """False for reproducible evaluation."""
    shared_prefix: bool = False
    """Many calls to come, several at a time, have these chat messages but for the last: the server reads them once
    if all of its slots are free when the first comes."""
    role_grammar: RolePrompt | None = None
    json_schema: str | None = None
    """JSON text."""
    regex: str | None = None
    grammar: str | None = None
    """GBNF text."""


@dataclass(frozen=True)
class StudentAnswer:
    """One whole answer. Tokens are counts; `prompt_tokens` includes `cached_tokens`."""

    text: str
    finish_reason: str
    """`stop` or `length`."""
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    queue_seconds: float
    prompt_seconds: float
    completion_seconds: float
    model_sha256: str


class StudentClient:
    """Talks to one server over one channel. Safe to share between threads; close it, or use it as a context manager."""

    def __init__(self, address: str, *, token: str | None = None, ca: Path | None = None, retries: bool = True) -> None:
        """`address` is HOST:PORT, `ca` the authority that signed the server's certificate (None: plain text).

        Without `retries` a call is made once: for callers that make their own.
        """
        self.address = address
        self._channel = open_channel(address, token=token, ca=ca, retries=retries)
        self._stub = student_inference_pb2_grpc.StudentInferenceServiceStub(self._channel)

    def close(self) -> None:
        """Closes the channel; answers under way are cancelled."""
        self._channel.close()

    def __enter__(self) -> StudentClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def info(self) -> pb.GetModelInfoResponse:
        """What is being served. Raises the errors of `stillhouse.errors`."""
        try:
            info: pb.GetModelInfoResponse = self._stub.GetModelInfo(
                pb.GetModelInfoRequest(), timeout=_INFO_DEADLINE_SECONDS
            )
            return info
        except grpc.RpcError as exc:
            raise error_from_rpc(exc, address=self.address) from exc

    def generate(
        self,
        prompt: Prompt,
        options: GenerationOptions | None = None,
        *,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    ) -> StudentAnswer:
        """One answer. Raises the errors of `stillhouse.errors`; what is retried is the channel's business."""
        try:
            response = self._stub.Generate(_request(prompt, options), timeout=deadline_seconds)
        except grpc.RpcError as exc:
            raise error_from_rpc(exc, address=self.address) from exc
        return _answer(response.text, response)

    async def generate_async(
        self,
        prompt: Prompt,
        options: GenerationOptions | None = None,
        *,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    ) -> StudentAnswer:
        """As `generate` for an event loop; cancelling the task cancels the request and frees its slot."""
        loop = asyncio.get_running_loop()
        finished = asyncio.Event()
        call = self._stub.Generate.future(_request(prompt, options), timeout=deadline_seconds)

        def wake(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone, and nobody waits
                loop.call_soon_threadsafe(finished.set)

        call.add_done_callback(wake)
        try:
            await finished.wait()
        finally:
            call.cancel()
        try:
            response = call.result()
        except grpc.RpcError as exc:
            raise error_from_rpc(exc, address=self.address) from exc
        return _answer(response.text, response)

    def stream(
        self,
        prompt: Prompt,
        options: GenerationOptions | None = None,
        *,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    ) -> Iterator[str | StudentAnswer]:
        """Pieces of text as they come, and last the whole answer. Closing the iterator frees the slot."""
        call = self._stub.StreamGenerate(
            pb.StreamGenerateRequest(request=_request(prompt, options)), timeout=deadline_seconds
        )
        kept: list[str] = []
        try:
            for piece in call:
                if piece.text:
                    kept.append(piece.text)
                    yield piece.text
                if piece.finish_reason != pb.FINISH_REASON_UNSPECIFIED:
                    yield _answer("".join(kept), piece)
        except grpc.RpcError as exc:
            raise error_from_rpc(exc, address=self.address) from exc
        finally:
            call.cancel()


def _request(prompt: Prompt, options: GenerationOptions | None) -> pb.GenerateRequest:
    given = options or GenerationOptions()
    request = pb.GenerateRequest(
        sampling=pb.SamplingParameters(
            temperature=given.temperature,
            top_p=given.top_p,
            top_k=given.top_k,
            max_tokens=given.max_tokens,
            seed=given.seed,
            stop=given.stop,
            frequency_penalty=given.frequency_penalty,
            presence_penalty=given.presence_penalty,
            repetition_penalty=given.repetition_penalty,
        ),
        constraint=_constraint(given),
        cache_prompt=given.cache_prompt,
        shared_prefix=given.shared_prefix,
    )
    if isinstance(prompt, RolePrompt):
        request.role_inputs.CopyFrom(_role_inputs(prompt))
    elif isinstance(prompt, str):
        request.text = prompt
    else:
        messages = [pb.ChatMessage(role=message.role, content=message.content) for message in prompt]
        request.chat.CopyFrom(pb.ChatMessages(messages=messages))
    return request


def _constraint(options: GenerationOptions) -> pb.Constraint | None:
    texts = {"json_schema": options.json_schema, "regex": options.regex, "grammar": options.grammar}
    named = [(name, text) for name, text in texts.items() if text is not None]
    if len(named) + (options.role_grammar is not None) > 1:
        raise InvalidArgument("an answer is held to one constraint at most", field="constraint")
    if options.role_grammar is not None:
        return pb.Constraint(role_grammar=_role_inputs(options.role_grammar))
    constraint = pb.Constraint()
    for name, text in named:
        setattr(constraint, name, text)
    return constraint if named else None


def _role_inputs(prompt: RolePrompt) -> pb.RoleInputs:
    return pb.RoleInputs(role=prompt.role, inputs=prompt.inputs)


def _answer(text: str, response: pb.GenerateResponse | pb.StreamGenerateResponse) -> StudentAnswer:
    usage = response.usage
    return StudentAnswer(
        text=text,
        finish_reason=_FINISH_REASONS.get(response.finish_reason, ""),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        queue_seconds=usage.queue_seconds,
        prompt_seconds=usage.prompt_seconds,
        completion_seconds=usage.completion_seconds,
        model_sha256=response.model_sha256,
    )
