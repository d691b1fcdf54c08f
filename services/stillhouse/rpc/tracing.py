"""Traces: spans sent over OTLP where OTEL_EXPORTER_OTLP_ENDPOINT is set; elsewhere OpenTelemetry is not even imported.

Called by mains, servers, channels, runners and whoever asks a model. A span holds names, counts and the class of an
error, never a prompt, an answer or a message. Where a span belongs travels as W3C's traceparent: to processes as
TRACEPARENT, to servers as metadata. It is passed on, and is in log lines, without an endpoint too.
"""

from __future__ import annotations

import importlib.metadata
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACE_PARENT_VARIABLE = "TRACEPARENT"
TRACE_PARENT_HEADER = "traceparent"

Attributes = Mapping[str, str | int | float | bool]

_SHAPE = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)
# A collector that is away must not keep a process that is done; it is tried that long when the process ends.
_EXPORT_SECONDS = 5.0

_current: ContextVar[str] = ContextVar("trace_parent", default="")
# Trace and span id of the next span, where they are known before it begins.
_known_ids: ContextVar[tuple[int, int] | None] = ContextVar("known_ids", default=None)


class _Process:
    """What holds for all threads."""

    parent = ""
    provider: TracerProvider | None = None


_process = _Process()


class Span:
    """One piece of work; without an endpoint only a place in a trace, if there is one."""

    def __init__(self, made: Any, parent: str) -> None:
        """Made by `begin`."""
        self._made = made
        self.trace_parent = parent
        """For what is done within it."""
        context = made.get_span_context() if made is not None else None
        if context is not None and context.is_valid:
            self.trace_parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def set(self, attributes: Attributes) -> None:
        """Adds to what is said of it."""
        if self._made is not None:
            self._made.set_attributes(dict(attributes))

    def end(self, error: str = "", *, end_seconds: float | None = None) -> None:
        """It is done, or has failed with an error of that class. Once."""
        if self._made is None:
            return
        if error:
            from opentelemetry.trace import StatusCode

            self._made.set_attribute("error.type", error)
            self._made.set_status(StatusCode.ERROR)
        self._made.end(None if end_seconds is None else round(end_seconds * 1e9))


def configure_tracing(service: str, environ: Mapping[str, str]) -> None:
    """Takes TRACEPARENT from the environment, and sends spans of `service` to the endpoint, if there is one.

    Without the packages of the extra `tracing` a warning is logged and nothing is sent. What is not sent yet goes out
    when the process ends, or with the next call.
    """
    if _process.provider is not None:
        _process.provider.shutdown()
        _process.provider = None
    _process.parent = _checked(environ.get(TRACE_PARENT_VARIABLE, ""))
    if not environ.get(ENDPOINT_VARIABLE):
        return
    try:
        _process.provider = _provider(service, environ)
    except ModuleNotFoundError as exc:
        structlog.get_logger("stillhouse.rpc").warning(
            f"no traces: {ENDPOINT_VARIABLE} is set, but a package is missing; install stillhouse[tracing]",
            missing=exc.name,
        )


def is_tracing() -> bool:
    """Whether spans are sent."""
    return _process.provider is not None


def trace_parent() -> str:
    """Where work that begins now belongs, as W3C's traceparent; empty for nowhere."""
    return _current.get() or _process.parent


def trace_id() -> str:
    """Of the trace to which this work belongs, 32 hex digits; empty for none."""
    return trace_parent()[3:35]


def begin(name: str, *, kind: str = "internal", parent: str = "", attributes: Attributes | None = None) -> Span:
    """A span below `parent`, else below the work that is going on; end it.

    `kind` is internal, server or client. A parent that is no traceparent counts as none.
    """
    parent = _checked(parent) or trace_parent()
    if _process.provider is None:
        return Span(None, parent)
    return Span(_started(_process.provider, name, kind, parent, attributes, None), parent)


def record(name: str, own: str, *, start_seconds: float, end_seconds: float, attributes: Attributes) -> None:
    """Sends a span that is over, the first of its trace, whose traceparent `own` others were given as their parent."""
    found = _SHAPE.fullmatch(own)
    if _process.provider is None or found is None:
        return
    before = _known_ids.get()
    _known_ids.set((int(found[1], 16), int(found[2], 16)))
    try:
        made = _started(_process.provider, name, "internal", "", attributes, start_seconds)
    finally:
        _known_ids.set(before)
    Span(made, "").end(end_seconds=end_seconds)


@contextmanager
def span(
    name: str,
    *,
    kind: str = "internal",
    parent: str = "",
    attributes: Attributes | None = None,
    everywhere: bool = False,
    begins: bool = False,
) -> Iterator[Span]:
    """Around a piece of work: what begins within it belongs to it, in all threads where it is `everywhere`.

    With `begins` there is a trace from here on, at least in log lines.
    """
    made = begin(name, kind=kind, parent=parent, attributes=attributes)
    if begins and not made.trace_parent:
        made.trace_parent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    outer = _process.parent
    if everywhere:
        _process.parent = made.trace_parent
    try:
        with following(made.trace_parent):
            yield made
    except BaseException as exc:
        made.end(type(exc).__name__)
        raise
    else:
        made.end()
    finally:
        if everywhere:
            _process.parent = outer


@contextmanager
def following(parent: str) -> Iterator[None]:
    """Work within the block belongs below that traceparent."""
    before = _current.get()
    _current.set(parent)
    try:
        yield
    finally:
        # Not by a token: a generator may be closed in another thread than it began in.
        _current.set(before)


def _checked(parent: str) -> str:
    return parent if _SHAPE.fullmatch(parent) else ""


def _provider(service: str, environ: Mapping[str, str]) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        def generate_span_id(self) -> int:
            known = _known_ids.get()
            return known[1] if known else super().generate_span_id()

        def generate_trace_id(self) -> int:
            known = _known_ids.get()
            return known[0] if known else super().generate_trace_id()

    names = {
        "service.name": environ.get("OTEL_SERVICE_NAME") or service,
        "service.namespace": "stillhouse",
        "service.version": importlib.metadata.version("stillhouse"),
    }
    is_told = "OTEL_EXPORTER_OTLP_TIMEOUT" in environ or "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT" in environ
    provider = TracerProvider(resource=Resource.create(names), id_generator=Ids())
    seconds = None if is_told else _EXPORT_SECONDS
    exporter = OTLPSpanExporter(endpoint=environ[ENDPOINT_VARIABLE], timeout=seconds)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _started(
    provider: TracerProvider,
    name: str,
    kind: str,
    parent: str,
    attributes: Attributes | None,
    start_seconds: float | None,
) -> Any:
    from opentelemetry.trace import SpanKind

    return provider.get_tracer("stillhouse").start_span(
        name,
        context=_context(parent),
        kind=SpanKind[kind.upper()],
        attributes=dict(attributes or {}),
        start_time=None if start_seconds is None else round(start_seconds * 1e9),
    )


def _context(parent: str) -> Context:
    """Ours alone: libraries that trace by themselves go their own way."""
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    found = _SHAPE.fullmatch(parent)
    if found is None:
        return Context()
    there = SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=TraceFlags(int(found[3], 16)))
    return set_span_in_context(NonRecordingSpan(there), Context())
