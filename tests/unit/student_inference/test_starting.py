"""A server that is stopped before it serves, in a process of its own: signals are the process's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stillhouse.errors import EXIT_DONE, EXIT_INTERRUPTED

STARTS = """
import sys, time
from stillhouse.rpc.process import hold_signals
hold_signals()
from stillhouse.student_inference import starting
try:
    with getattr(starting, sys.argv[1])():
        print("starting", flush=True)
        sys.stdin.read()
finally:
    print("cleaned up", flush=True)
"""
ASKED_BETWEEN = """
import os, signal
from stillhouse.rpc.process import hold_signals, stop_on_signals
hold_signals()
from stillhouse.student_inference.starting import abandoned_on_signals, leaving_on_signals
with leaving_on_signals():
    pass
with abandoned_on_signals():
    pass
os.kill(os.getpid(), signal.SIGTERM)
with stop_on_signals() as stop:
    print("heard" if stop.event.wait(30) else "lost")
"""
CODES = [(signal.SIGTERM, EXIT_DONE), (signal.SIGINT, EXIT_INTERRUPTED)]


def stopped_by(number: int, phase: str) -> tuple[int, str]:
    """The exit code of a process that is stopped in that phase, and what it says after."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", STARTS, phase], text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "starting\n"
        process.send_signal(number)
        code = process.wait(30)
        return code, process.stdout.read()


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_fetch_is_left_with_what_was_half_done_cleaned_up(number: int, code: int) -> None:
    assert stopped_by(number, "leaving_on_signals") == (code, "cleaned up\n")


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_load_is_abandoned_where_it_is(number: int, code: int) -> None:
    assert stopped_by(number, "abandoned_on_signals") == (code, "")


def test_a_signal_that_comes_between_loading_and_serving_is_heard_by_the_server() -> None:
    done = subprocess.run([sys.executable, "-c", ASKED_BETWEEN], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "heard\n"


def test_the_server_ends_when_it_is_stopped_while_it_reads_its_model(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    os.mkfifo(model)
    command = [sys.executable, "-m", "stillhouse.student_inference", "serve", "--model", str(model), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    # Opens when the server opens the other end, and keeps it waiting for bytes.
    with process, model.open("wb"):
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
    assert (process.returncode, said) == (EXIT_DONE, "")
