"""A process that waits for the wish to stop hears it whenever the signal comes."""

from __future__ import annotations

import signal
import subprocess
import sys

PROGRAM = """
import os, signal
from stillhouse.rpc.process import stop_on_signals

with stop_on_signals() as stop:
    # A signal that comes while the main thread, waiting in short steps, just holds the event's lock.
    with stop.event._cond:
        os.kill(os.getpid(), signal.SIGTERM)
    print("heard" if stop.event.wait(5) else "deaf", flush=True)
"""


def test_a_signal_that_comes_while_the_events_lock_is_held_does_not_hang_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "heard\n", done.stderr


def test_the_exit_code_says_which_signal_it_was() -> None:
    program = """
import os, signal
from stillhouse.rpc.process import stop_on_signals
with stop_on_signals() as stop:
    os.kill(os.getpid(), signal.{name})
    assert stop.event.wait(5)
    raise SystemExit(stop.exit_code)
"""
    for name, code in ((signal.SIGTERM.name, 143), (signal.SIGINT.name, 130)):
        done = subprocess.run([sys.executable, "-c", program.format(name=name)], timeout=60, check=False)
        assert done.returncode == code
