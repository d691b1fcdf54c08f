"""Waits until a student's server answers. Called by whoever has just started one, or may be faster than it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from time import monotonic

import grpc

from stillhouse.client.student import StudentClient
from stillhouse.errors import Cancelled, DeadlineExceeded, StillhouseError, Unavailable
from stillhouse.v1.student_inference_pb2 import GetModelInfoResponse

_PAUSE_SECONDS = 0.25


def wait_until_ready(
    client: StudentClient,
    *,
    wait_seconds: float,
    stopping: Event | None = None,
    check: Callable[[], None] = lambda: None,
) -> GetModelInfoResponse:
    """What is served, once the server answers; empty where it is a server that does not tell.

    `check` raises once waiting is in vain. Raises Unavailable naming address and remedy after `wait_seconds`, Cancelled
    when `stopping` is set meanwhile, and PermissionDenied where the token is refused.
    """
    stopping = stopping or Event()
    give_up_at = monotonic() + wait_seconds
    while True:
        check()
        try:
            return client.info()
        except (Unavailable, DeadlineExceeded) as exc:
            if monotonic() >= give_up_at:
                raise Unavailable(
                    f"no student answers at {client.address}: {exc.message} "
                    "(stillhouse serve-student MODEL.gguf --port PORT starts one)"
                ) from exc
            if stopping.wait(_PAUSE_SECONDS):
                raise Cancelled(f"stopped while waiting for the student at {client.address}") from exc
        except StillhouseError as exc:
            if _is_unimplemented(exc):
                return GetModelInfoResponse()
            raise


def _is_unimplemented(error: StillhouseError) -> bool:
    """Another server that speaks Generate, but does not say what it serves."""
    cause = error.__cause__
    return isinstance(cause, grpc.Call) and cause.code() is grpc.StatusCode.UNIMPLEMENTED
