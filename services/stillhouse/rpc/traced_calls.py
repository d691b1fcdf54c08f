"""Spans of calls: on servers below the caller's span, on channels below whatever makes the call.

Called by `server` and `channel`. It must not know any service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from stillhouse.rpc.interceptors import Ended, WatchingInterceptor
from stillhouse.rpc.tracing import TRACE_PARENT_HEADER, Attributes, begin, span


class TracingInterceptor(WatchingInterceptor):
    """A span a call, below the caller's; without an endpoint the caller's trace is in log lines at least."""

    @contextmanager
    def watch(self, method: str, context: grpc.ServicerContext) -> Iterator[Ended]:
        """See WatchingInterceptor."""
        given = dict(context.invocation_metadata()).get(TRACE_PARENT_HEADER, "")
        parent = given if isinstance(given, str) else ""
        with span(method, kind="server", parent=parent, attributes=_names(method)) as made:
            yield lambda code: made.set(_code(code))


def begin_call(method: str, metadata: list[tuple[str, Any]]) -> Callable[[Any], None]:
    """Begins a call's span and adds its traceparent to `metadata`; give what is returned the call when it is done."""
    name = method.lstrip("/")
    made = begin(name, kind="client", attributes=_names(name))
    if made.trace_parent:
        metadata.append((TRACE_PARENT_HEADER, made.trace_parent))

    def done(call: Any) -> None:
        code = call.code()
        if code is not None:
            made.set(_code(code))
        made.end("" if code in (grpc.StatusCode.OK, None) else code.name)

    return done


def _names(method: str) -> Attributes:
    service, _, name = method.partition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}


def _code(code: grpc.StatusCode) -> Attributes:
    return {"rpc.grpc.status_code": code.value[0]}
