"""Names that are to be looked at, each by one worker at a time, not before they are due. Called by the shell.

It must not know what is behind a name. A look costs milliseconds and more: the next name is found by reading them all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_FIRST_BACKOFF_SECONDS = 1.0
_LAST_BACKOFF_SECONDS = 60.0

NameT = TypeVar("NameT", bound=Hashable)


class WorkQueue(Generic[NameT]):
    """Level-triggered: a name that is added many times is given once, and again if it was added while it was out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._changed = threading.Condition()
        self._due: dict[NameT, float] = {}
        self._out: set[NameT] = set()
        self._failures: dict[NameT, int] = {}
        self._not_before: dict[NameT, float] = {}
        self._closed = False

    def add(self, name: NameT, delay_seconds: float = 0.0) -> None:
        """Wants `name` looked at after that delay; an earlier wish stands, and so does the wait after a failure."""
        with self._changed:
            due = max(self._clock() + delay_seconds, self._not_before.get(name, 0.0))
            self._due[name] = min(due, self._due.get(name, due))
            self._changed.notify_all()

    def get(self) -> NameT | None:
        """The next name that is due, as soon as there is one; None once the queue is closed. Call `done` after it."""
        with self._changed:
            while not self._closed:
                due, name = min(
                    ((due, name) for name, due in self._due.items() if name not in self._out),
                    key=lambda entry: entry[0],
                    default=(None, None),
                )
                if due is None or name is None:
                    self._changed.wait()
                elif due > self._clock():
                    self._changed.wait(due - self._clock())
                else:
                    del self._due[name]
                    self._out.add(name)
                    return name
        return None

    def done(self, name: NameT, *, again_seconds: float | None = None) -> None:
        """It was looked at; the next look is after `again_seconds`, or with the next event."""
        with self._changed:
            self._out.discard(name)
            self._failures.pop(name, None)
            self._not_before.pop(name, None)
            self._changed.notify_all()
        if again_seconds is not None:
            self.add(name, again_seconds)

    def failed(self, name: NameT, *, retry_after_seconds: float | None = None) -> float:
        """Looking failed: it is given again after 1, 2, 4, ... 60 s, or as asked. Returns those seconds."""
        with self._changed:
            self._out.discard(name)
            failures = self._failures.get(name, 0)
            self._failures[name] = failures + 1
            backoff = min(_FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, 10), _LAST_BACKOFF_SECONDS)
            seconds = max(backoff, retry_after_seconds or 0.0)
            self._not_before[name] = self._due[name] = self._clock() + seconds
            self._changed.notify_all()
            return seconds

    def close(self) -> None:
        """Ends every `get`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        """Names that wait."""
        with self._changed:
            return len(self._due)
