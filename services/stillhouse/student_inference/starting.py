"""How a server is stopped that does not serve yet: while it fetches its model, and while llama.cpp loads it.

Called by `__main__`, which holds the stop signals from its first line on. Nobody waits for an answer then, so the
process leaves at once; later `rpc.server` hears the signals and drains.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from stillhouse.errors import EXIT_DONE, EXIT_INTERRUPTED

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_POLL_SECONDS = 0.1


@contextmanager
def leaving_on_signals() -> Iterator[None]:
    """A stop signal raises SystemExit where Python works, which removes what is half fetched. Main thread only."""
    before = {number: signal.signal(number, _leave) for number in _STOP_SIGNALS}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def abandoned_on_signals() -> Iterator[None]:
    """A stop signal ends the process where it is: no Python handler runs in a main thread that is inside llama.cpp.

    The signals stay held, so that llama.cpp's own handlers never hear them.
    """
    is_over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(is_over,), name="abandon", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()


def _watch(is_over: threading.Event) -> None:
    while not is_over.wait(_POLL_SECONDS):
        pending = signal.sigpending()
        for number in _STOP_SIGNALS:
            if number in pending:
                os._exit(_exit_code(number))


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's signature
    raise SystemExit(_exit_code(number))


def _exit_code(number: int) -> int:
    """As that of a server that has drained."""
    return EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_DONE
