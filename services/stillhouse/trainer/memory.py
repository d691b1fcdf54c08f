"""Gives memory that the allocator only hoards back to the system. Called by the loop after every step.

Records differ in length, so no two steps ask for blocks of the same sizes; glibc keeps what it can't reuse, and a
training of an hour would grow by gigabytes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def return_free_memory() -> None:
    """Hands free pages back, where the C library can (glibc's malloc_trim); milliseconds."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
