"""How a process of ours is asked to stop: SIGTERM, SIGINT, or the end of its runner.

Called by job and serve mains and by commands that run for long. It must not know what the process does.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from stillhouse.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

WATCH_STDIN_VARIABLE = "STILLHOUSE_WATCH_STDIN"
RUNNER_GONE_SECONDS = 10.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PASS_ON_SECONDS = 5.0


class StopRequest:
    """That the process was asked to stop, and by what."""

    def __init__(self) -> None:
        """Not asked yet."""
        self.event = threading.Event()
        self.interrupted = False
        # A handler runs between two steps of the main thread, which may hold the event's lock just then: setting the
        # event there can wait for ever. A SimpleQueue may be put to from a handler, and a thread passes it on.
        self._asked: queue.SimpleQueue[None] = queue.SimpleQueue()
        threading.Thread(target=self._pass_on, name="stop-request", daemon=True).start()

    @property
    def exit_code(self) -> int:
        """What a process that stops on request exits with: 130 after SIGINT, else 143."""
        return EXIT_INTERRUPTED if self.interrupted else EXIT_TERMINATED

    def on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's signature
        """Asks for a stop; a second SIGINT does not wait for it."""
        if number == signal.SIGINT:
            if self.interrupted:
                os._exit(EXIT_INTERRUPTED)
            self.interrupted = True
        self._asked.put(None)

    def _pass_on(self) -> None:
        self._asked.get()
        self.event.set()


def hold_signals() -> None:
    """SIGTERM and SIGINT wait until `stop_on_signals` is entered. Call it before imports that take their time.

    Without it a Job that is stopped while it starts dies of the signal, as if somebody had killed it; and the first
    process of a container, to which the kernel sends no signal that it does not handle, never hears of it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """SIGTERM and SIGINT set the request's event while the context lasts. Main thread only."""
    request = StopRequest()
    before = {number: signal.signal(number, request.on_signal) for number in _STOP_SIGNALS}
    held = signal.sigpending() & set(_STOP_SIGNALS)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    if held:
        # The handler has run by now, and the thread behind it is about to set the event: nothing starts before it has.
        request.event.wait(_PASS_ON_SECONDS)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch_runner(stop: StopRequest, environ: Mapping[str, str]) -> None:
    """Where STILLHOUSE_WATCH_STDIN=1: when standard input ends, the runner is gone, and so is the wish for a result.

    The event is set as by SIGTERM; 10 s later the process ends whatever it does. A pipe ends however its writer dies.
    """
    if environ.get(WATCH_STDIN_VARIABLE) == "1":
        threading.Thread(target=_await_end_of_input, args=(stop,), name="watch-stdin", daemon=True).start()


def _await_end_of_input(stop: StopRequest) -> None:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        # A closed standard input is one that has ended.
        pass
    stop.event.set()
    threading.Event().wait(RUNNER_GONE_SECONDS)
    os._exit(EXIT_TERMINATED)
