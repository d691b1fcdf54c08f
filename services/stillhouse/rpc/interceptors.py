"""What stands before every call of a server: the bearer token, and errors as rich statuses. Called by the server alone.

It must not know any service.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, NoReturn, cast

import grpc
import structlog
from grpc_status import rpc_status

from stillhouse.rpc.status import classified, status_of

# Probes of an orchestrator carry no credentials; that a server lives is no secret.
_OPEN_METHODS = "/grpc.health.v1.Health/"

# A channel tries UNAVAILABLE again by itself. What a method said is not for it to repeat: a batch call would do its
# work over; whoever called decides, with RetryInfo at hand. See gRPC's A6, "pushback".
_NO_TRANSPORT_RETRY = ("grpc-retry-pushback-ms", "-1")

INFRASTRUCTURE = "/grpc."
"""Methods of gRPC's own services, health and reflection, begin so."""

Behaviour = Callable[[Any, grpc.ServicerContext], Any]


class CallInterceptor(grpc.ServerInterceptor):
    """Checks the token, calls the method, and turns what it raises into a status. Unexpected errors are logged."""

    def __init__(self, token: str | None) -> None:
        """`token` None lets everyone in."""
        self._expected = f"Bearer {token}".encode() if token is not None else None

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """See grpc.ServerInterceptor."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        refused = not self._admits(handler_call_details)
        return with_behaviour(handler, lambda behaviour: self._guarded(behaviour, method, refused=refused))

    def _admits(self, details: grpc.HandlerCallDetails) -> bool:
        if self._expected is None or details.method.startswith(_OPEN_METHODS):
            return True
        given = next((value for name, value in details.invocation_metadata or () if name == "authorization"), "")
        return hmac.compare_digest(given if isinstance(given, bytes) else given.encode(), self._expected)

    def _guarded(self, behaviour: Behaviour, method: str, *, refused: bool) -> tuple[Behaviour, Behaviour]:
        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            if refused:
                _refuse(context)
            try:
                return behaviour(request, context)
            except Exception as exc:
                _abort(exc, context, method)

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            if refused:
                _refuse(context)
            try:
                yield from behaviour(request, context)
            except Exception as exc:
                _abort(exc, context, method)

        return unary, stream


class _Status(NamedTuple):
    """As grpc.Status, which has no constructor."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def with_behaviour(
    handler: grpc.RpcMethodHandler[Any, Any], guarded: Callable[[Behaviour], tuple[Behaviour, Behaviour]]
) -> grpc.RpcMethodHandler[Any, Any]:
    """The handler with another behaviour: `guarded` makes one that answers once, and one that answers in a stream."""
    kinds: tuple[tuple[str, Callable[..., Any], int], ...] = (
        ("unary_unary", grpc.unary_unary_rpc_method_handler, 0),
        ("unary_stream", grpc.unary_stream_rpc_method_handler, 1),
        ("stream_unary", grpc.stream_unary_rpc_method_handler, 0),
        ("stream_stream", grpc.stream_stream_rpc_method_handler, 1),
    )
    for name, make, index in kinds:
        behaviour = getattr(handler, name)
        if behaviour is not None:
            made: grpc.RpcMethodHandler[Any, Any] = make(
                guarded(behaviour)[index],
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
            return made
    return handler


def surrounded(
    behaviour: Behaviour, around: Callable[[grpc.ServicerContext], AbstractContextManager[None]]
) -> tuple[Behaviour, Behaviour]:
    """The behaviour within `around`, for `with_behaviour`; a stream's lasts as long as the stream."""

    def unary(request: Any, context: grpc.ServicerContext) -> Any:
        with around(context):
            return behaviour(request, context)

    def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        with around(context):
            yield from behaviour(request, context)

    return unary, stream


def final_code(context: grpc.ServicerContext, error: BaseException | None) -> grpc.StatusCode:
    """How a call ends whose behaviour has returned or raised `error`."""
    code: grpc.StatusCode | None = cast("Any", context).code()
    if code is not None:
        return code
    if not context.is_active() or isinstance(error, GeneratorExit):
        remaining = context.time_remaining()
        has_expired = remaining is not None and remaining <= 0
        return grpc.StatusCode.DEADLINE_EXCEEDED if has_expired else grpc.StatusCode.CANCELLED
    return grpc.StatusCode.OK if error is None else grpc.StatusCode.UNKNOWN


def _refuse(context: grpc.ServicerContext) -> NoReturn:
    context.abort(
        grpc.StatusCode.UNAUTHENTICATED, "the bearer token is missing or wrong; send `authorization: Bearer TOKEN`"
    )
    raise AssertionError("abort raises")


def _abort(error: Exception, context: grpc.ServicerContext, method: str) -> NoReturn:
    # context.abort raises a bare Exception; whoever called it has said what there is to say.
    if cast("Any", context).code() is not None:
        raise error
    if classified(error) is None:
        structlog.get_logger("stillhouse.rpc").error("call failed unexpectedly", method=method, exc_info=error)
    made = rpc_status.to_status(status_of(error))
    context.abort_with_status(
        cast("grpc.Status", _Status(made.code, made.details, (*made.trailing_metadata, _NO_TRANSPORT_RETRY)))
    )
    raise AssertionError("abort raises")
