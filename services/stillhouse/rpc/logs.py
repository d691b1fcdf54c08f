"""Logs of a service process: JSON lines on standard error, readable lines on a terminal. Called by mains only.

It must not know what is logged. Values under names that hold secrets never leave the process.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from stillhouse.rpc.tracing import trace_id

_SECRET_NAME = re.compile(
    r"(^|_)(token|password|secret|authorization|credentials?|api_key|access_key|secret_key)$", re.I
)
_SECRET_TEXT = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{4,}|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
_HIDDEN = "[hidden]"


def configure_logging(service: str, stream: TextIO | None = None) -> None:
    """Sends structlog and the standard library's warnings to `stream`, one event a line, with `service` in it, and
    `trace_id` where the work belongs to a trace.

    The stream is standard error where none is given.
    """
    stream = stream or sys.stderr

    def add_origin(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ARG001
        event.setdefault("service", service)
        if trace := trace_id():
            event.setdefault("trace_id", trace)
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        add_origin,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    is_terminal = stream.isatty()
    last: list[Any] = (
        [hide_secrets, structlog.dev.ConsoleRenderer()]
        if is_terminal
        else [structlog.processors.format_exc_info, hide_secrets, structlog.processors.JSONRenderer(ensure_ascii=False)]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


def hide_secrets(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ARG001
    """A structlog processor: hides values named as secrets are, and bearer tokens and passwords inside texts."""
    for name, value in event.items():
        event[name] = _HIDDEN if _SECRET_NAME.search(name) and value else _clean(value)
    return event


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _SECRET_TEXT.sub(_HIDDEN, value)
    if isinstance(value, dict):
        return {
            name: _HIDDEN if isinstance(name, str) and _SECRET_NAME.search(name) and item else _clean(item)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value
