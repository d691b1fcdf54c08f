"""What stands around every call of a server: the bearer token, and errors as rich statuses; and whoever looks on.

Called by the server, by metrics and by traces. It must not know any service.
"""

from __future__ import annotations

import hmac
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

import grpc
import structlog
from grpc_status import rpc_status

from stillhouse.rpc.status import classified, status_of

# Probes of an orchestrator carry no credentials; that a server lives is no secret.
_OPEN_METHODS = "/grpc.health.v1.Health/"

# A channel tries UNAVAILABLE again by itself. What a method said is not for it to repeat: a batch call would do its
# work over; whoever called decides, with RetryInfo at hand. See gRPC's A6, "pushback".
_NO_TRANSPORT_RETRY = ("grpc-retry-pushback-ms", "-1")

# Methods of gRPC's own services, health and reflection, begin so.
_INFRASTRUCTURE = "/grpc."

Behaviour = Callable[[Any, grpc.ServicerContext], Any]
Ended = Callable[[grpc.StatusCode], None]
if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]


class CallInterceptor(grpc.ServerInterceptor):
    """Checks the token, calls the method, and turns what it raises into a status. Unexpected errors are logged."""

    def __init__(self, token: str | None) -> None:
        """`token` None lets everyone in."""
        self._expected = f"Bearer {token}".encode() if token is not None else None

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """See grpc.ServerInterceptor."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        refused = not self._admits(handler_call_details)
        return _with_behaviour(handler, lambda behaviour: self._guarded(behaviour, method, refused=refused))

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


class WatchingInterceptor(grpc.ServerInterceptor):
    """Looks on at calls, but for those of health and reflection, which nobody waits for."""

    @abstractmethod
    def watch(self, method: str, context: grpc.ServicerContext) -> AbstractContextManager[Ended]:
        """Around a call of `method` (package.Service/Method), a stream's to its end; what is entered hears its code."""

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """See grpc.ServerInterceptor."""
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_INFRASTRUCTURE):
            return handler
        return _with_behaviour(handler, lambda behaviour: self._watched(behaviour, method.lstrip("/")))

    def _watched(self, behaviour: Behaviour, method: str) -> tuple[Behaviour, Behaviour]:
        @contextmanager
        def watched(context: grpc.ServicerContext) -> Iterator[None]:
            with self.watch(method, context) as ended:
                error: BaseException | None = None
                try:
                    yield
                except BaseException as exc:
                    error = exc
                    raise
                finally:
                    ended(_final_code(context, error))

        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            with watched(context):
                return behaviour(request, context)

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with watched(context):
                yield from behaviour(request, context)

        return unary, stream


class _Status(NamedTuple):
    """As grpc.Status, which has no constructor."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def _with_behaviour(handler: Handler, around: Callable[[Behaviour], tuple[Behaviour, Behaviour]]) -> Handler:
    """The handler with another behaviour: `around` makes one that answers once, and one that answers in a stream."""
    kinds: tuple[tuple[str, Callable[..., Any], int], ...] = (
        ("unary_unary", grpc.unary_unary_rpc_method_handler, 0),
        ("unary_stream", grpc.unary_stream_rpc_method_handler, 1),
        ("stream_unary", grpc.stream_unary_rpc_method_handler, 0),
        ("stream_stream", grpc.stream_stream_rpc_method_handler, 1),
    )
    for name, make, index in kinds:
        behaviour = getattr(handler, name)
        if behaviour is not None:
            made: Handler = make(
                around(behaviour)[index],
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
            return made
    return handler


def _final_code(context: grpc.ServicerContext, error: BaseException | None) -> grpc.StatusCode:
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
