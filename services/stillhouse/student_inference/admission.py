"""Admits as many requests as there are slots, lets a bounded number wait in order, and refuses the rest.

Called by the engine around every generation, because llama.cpp's own queue is unbounded and a request that waits in it
cannot be cancelled. Knows no grpc and no model.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stillhouse.errors import Cancelled, DeadlineExceeded, ResourceExhausted

_CANCEL_POLL_SECONDS = 0.05


class Stop:
    """Why a generation must end early: its caller went away, or its deadline passed."""

    def __init__(self, deadline_seconds: float | None = None) -> None:
        """`deadline_seconds` from now; None: no deadline."""
        self._event = threading.Event()
        self._deadline = None if deadline_seconds is None else time.monotonic() + deadline_seconds

    def cancel(self) -> None:
        """The caller went away."""
        self._event.set()

    @property
    def is_set(self) -> bool:
        """True once the generation must end."""
        return self._event.is_set() or self._expired()

    def raise_if_set(self, while_doing: str) -> None:
        """Raises DeadlineExceeded or Cancelled."""
        if self._expired():
            raise DeadlineExceeded(f"the deadline passed while {while_doing}")
        if self._event.is_set():
            raise Cancelled(f"the caller went away while {while_doing}")

    def _expired(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline


class Admission:
    """`slots` requests at once, `queue` waiting, first come first served."""

    def __init__(self, slots: int, queue: int) -> None:
        """Both counts of requests; `queue` may be 0."""
        self._slots = slots
        self._queue = queue
        self._busy = 0
        self._lent = 0
        """Slots among the busy that one request holds besides its own, for as long as it needs all."""
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()
        self._mean_seconds = 1.0

    @property
    def busy(self) -> int:
        """Requests that hold a slot."""
        with self._changed:
            return self._busy

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        with self._changed:
            return len(self._waiting)

    @contextmanager
    def slot(self, stop: Stop, with_all: Callable[[], None] | None = None) -> Iterator[float]:
        """Holds a slot; yields the seconds waited for it. `with_all` is called before, with all held, if all are free.

        Raises ResourceExhausted (with when to try again) where the queue is full, Cancelled or DeadlineExceeded where
        `stop` is set while waiting, and what `with_all` raises.
        """
        started = time.monotonic()
        holds_all = with_all is not None and self._take_all()
        if not holds_all:
            self._enter(stop)
        admitted = time.monotonic()
        try:
            if with_all is not None and holds_all:
                try:
                    with_all()
                finally:
                    self._give_others_back()
            yield admitted - started
        finally:
            with self._changed:
                self._mean_seconds += 0.2 * (time.monotonic() - admitted - self._mean_seconds)
                self._busy -= 1
                self._changed.notify_all()

    def _take_all(self) -> bool:
        with self._changed:
            free = self._busy == 0 and not self._waiting
            if free:
                self._busy, self._lent = self._slots, self._slots - 1
            return free

    def _give_others_back(self) -> None:
        with self._changed:
            self._busy, self._lent = self._busy - self._lent, 0
            self._changed.notify_all()

    def _enter(self, stop: Stop) -> None:
        ticket = object()
        with self._changed:
            if self._busy - self._lent + len(self._waiting) >= self._slots + self._queue:
                raise ResourceExhausted(
                    f"all {self._slots} slots are busy and {len(self._waiting)} requests wait for one; "
                    "try again later or serve with more --parallel",
                    retry_after_seconds=max(0.1, self._mean_seconds * (len(self._waiting) + 1) / self._slots),
                )
            self._waiting.append(ticket)
            try:
                while self._busy >= self._slots or self._waiting[0] is not ticket:
                    self._changed.wait(_CANCEL_POLL_SECONDS)
                    stop.raise_if_set("it waited for a slot")
                self._busy += 1
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
