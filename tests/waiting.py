"""Waiting for what another process or thread does, without guessing how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_SECONDS = 120


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Returns once the condition holds; an AssertionError that says `what` did not happen ends the wait for ever."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen: {what}"
        time.sleep(0.01)
