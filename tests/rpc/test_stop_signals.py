"""A process that waits for the wish to stop hears it whenever the signal comes."""

from __future__ import annotations

import signal
import subprocess
import sys

PROGRAM = """
import os, signal, threading, time
from stillhouse.rpc.process import stop_on_signals

def storm():
    while True:
        os.kill(os.getpid(), signal.SIGTERM)

with stop_on_signals() as stop:
    threading.Thread(target=storm, daemon=True).start()
    # The lock of the event is taken and given back all the time, as in a loop that waits in short steps.
    for _ in range(20_000):
        stop.event.wait(0)
    stop.event.wait(5)
    print("heard" if stop.event.is_set() else "deaf", flush=True)
    os._exit(0)
"""


def test_signals_that_come_while_the_event_is_waited_for_do_not_hang_the_process() -> None:
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
