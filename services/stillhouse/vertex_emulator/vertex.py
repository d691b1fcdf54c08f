"""The gRPC door: google.cloud.aiplatform.v1.PredictionService, so that Vertex AI's own client needs no change.

Called by the server. It checks the token, turns messages into prompts and back, and errors into Vertex' statuses.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import AsyncIterator
from typing import Any, NoReturn
from urllib.parse import parse_qsl

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from stillhouse.errors import InvalidArgument, NotFound, ResourceExhausted, StillhouseError, Unavailable
from stillhouse.teachers.emulator import BEHAVIOUR_HEADER
from stillhouse.vertex_emulator.answers import Behaviour
from stillhouse.vertex_emulator.desk import Desk
from stillhouse.vertex_emulator.wire import REQUEST, RESPONSE, prompt_of, response_of

SERVICE = "google.cloud.aiplatform.v1.PredictionService"
DOMAIN = "googleapis.com"
_LONGEST_SECONDS = 3600.0

Context = grpc.aio.ServicerContext[Any, Any]

_CODES: dict[type[StillhouseError], tuple[grpc.StatusCode, str]] = {
    InvalidArgument: (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    NotFound: (grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    ResourceExhausted: (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMIT_EXCEEDED"),
    Unavailable: (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
}
_UNAUTHENTICATED = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential."
)


class PredictionService:
    """GenerateContent and StreamGenerateContent; every other method is UNIMPLEMENTED."""

    def __init__(self, desk: Desk, token: str | None) -> None:
        """`token` None lets everyone in."""
        self._desk = desk
        self._expected = f"Bearer {token}".encode() if token is not None else None

    def add_to(self, server: grpc.aio.Server) -> None:
        """Registers both methods."""
        codec: dict[str, Any] = {
            "request_deserializer": REQUEST.FromString,
            "response_serializer": RESPONSE.SerializeToString,
        }
        unary: Any = self.generate_content
        stream: Any = self.stream_generate_content
        handlers = {
            "GenerateContent": grpc.unary_unary_rpc_method_handler(unary, **codec),
            "StreamGenerateContent": grpc.unary_stream_rpc_method_handler(stream, **codec),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    async def generate_content(self, request: Any, context: Context) -> Any:
        """UNAUTHENTICATED, INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED with RetryInfo, or UNAVAILABLE."""
        await self._authenticate(context)
        try:
            prompt = prompt_of(request)
            answer = await self._desk.answer(prompt, _behaviour(context))
            return response_of(prompt, answer.text, answer)
        except Exception as exc:
            await _abort(exc, context)

    async def stream_generate_content(self, request: Any, context: Context) -> AsyncIterator[Any]:
        """The same answer in pieces; fails as the other does."""
        await self._authenticate(context)
        try:
            prompt = prompt_of(request)
            async for piece, answer in self._desk.stream(prompt, _behaviour(context)):
                yield response_of(prompt, piece, answer)
        except Exception as exc:
            await _abort(exc, context)

    async def _authenticate(self, context: Context) -> None:
        if self._expected is None:
            return
        given: Any = next((value for name, value in context.invocation_metadata() or () if name == "authorization"), "")
        if hmac.compare_digest(given if isinstance(given, bytes) else given.encode(), self._expected):
            return
        self._desk.bill.traffic.unauthenticated += 1
        reason = "ACCESS_TOKEN_EXPIRED" if given else "CREDENTIALS_MISSING"
        await _fail(context, grpc.StatusCode.UNAUTHENTICATED, _UNAUTHENTICATED, reason)


def _behaviour(context: Context) -> Behaviour | None:
    """What the caller's metadata asks for. Raises InvalidArgument for what it can't be."""
    given: Any = next((value for name, value in context.invocation_metadata() or () if name == BEHAVIOUR_HEADER), None)
    if given is None:
        return None
    try:
        wish = dict(parse_qsl(given, strict_parsing=True))
        behaviour = Behaviour(
            recorded_faults=("none", "recorded").index(wish["faults"]) == 1,
            seed=int(wish["seed"]),
            latency_seconds=float(wish["latency"]),
        )
    except (KeyError, ValueError) as exc:
        raise InvalidArgument(f"{BEHAVIOUR_HEADER}: {given!r} is no faults=none|recorded&seed=N&latency=S") from exc
    if not 0 <= behaviour.latency_seconds <= _LONGEST_SECONDS:
        raise InvalidArgument(f"{BEHAVIOUR_HEADER}: a latency is between 0 and {_LONGEST_SECONDS:g} s, not {given!r}")
    return behaviour


async def _abort(error: Exception, context: Context) -> NoReturn:
    if isinstance(error, StillhouseError) and type(error) in _CODES:
        code, reason = _CODES[type(error)]
        await _fail(context, code, error.message, reason, getattr(error, "retry_after_seconds", None))
    structlog.get_logger("stillhouse.vertex_emulator").error("call failed unexpectedly", exc_info=error)
    await _fail(context, grpc.StatusCode.INTERNAL, f"Internal error encountered ({type(error).__name__}).", "INTERNAL")


async def _fail(
    context: Context, code: grpc.StatusCode, message: str, reason: str, retry_after_seconds: float | None = None
) -> NoReturn:
    info = error_details_pb2.ErrorInfo(domain=DOMAIN, reason=reason)
    info.metadata["service"] = "aiplatform.googleapis.com"
    status = Status(code=code.value[0], message=message, details=[_packed(info)])
    if retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        # Rounded up: who comes when he is told must not be early.
        retry.retry_delay.FromMilliseconds(math.ceil(retry_after_seconds * 1000))
        status.details.append(_packed(retry))
    await context.abort(code, message, (("grpc-status-details-bin", status.SerializeToString()),))
    raise AssertionError("abort raises")


def _packed(message: Any) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
