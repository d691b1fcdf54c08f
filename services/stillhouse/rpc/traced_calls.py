"""Spans of calls: on servers below the caller's span, on channels below whatever makes the call.

Called by `server` and `channel`. It must not know any service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from stillhouse.rpc.interceptors import INFRASTRUCTURE, final_code, surrounded, with_behaviour
from stillhouse.rpc.tracing import TRACE_PARENT_HEADER, Attributes, begin, is_tracing, span


class TracingInterceptor(grpc.ServerInterceptor):
    """A span a call, but for health and reflection; without an endpoint the caller's trace is in log lines at least."""

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """See grpc.ServerInterceptor."""
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        given = dict(handler_call_details.invocation_metadata or ()).get(TRACE_PARENT_HEADER, "")
        parent = given if isinstance(given, str) else ""
        if handler is None or method.startswith(INFRASTRUCTURE) or not (is_tracing() or parent):
            return handler

        @contextmanager
        def traced(context: grpc.ServicerContext) -> Iterator[None]:
            with span(method.lstrip("/"), kind="server", parent=parent, attributes=_names(method)) as made:
                error: BaseException | None = None
                try:
                    yield
                except BaseException as exc:
                    error = exc
                    raise
                finally:
                    made.set(_code(final_code(context, error)))

        return with_behaviour(handler, lambda behaviour: surrounded(behaviour, traced))


def begin_call(method: str, metadata: list[tuple[str, Any]]) -> Callable[[Any], None]:
    """Begins a call's span and adds its traceparent to `metadata`; give what is returned the call when it is done."""
    made = begin(method.lstrip("/"), kind="client", attributes=_names(method))
    if made.trace_parent:
        metadata.append((TRACE_PARENT_HEADER, made.trace_parent))

    def done(call: Any) -> None:
        code = call.code()
        if code is not None:
            made.set(_code(code))
        made.end("" if code in (grpc.StatusCode.OK, None) else code.name)

    return done


def _names(method: str) -> Attributes:
    service, _, name = method.lstrip("/").partition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}


def _code(code: grpc.StatusCode) -> Attributes:
    return {"rpc.grpc.status_code": code.value[0]}
