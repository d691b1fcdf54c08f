"""A process that waits for the wish to stop hears it whenever the signal comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from google.protobuf import any_pb2, json_format

from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest
from stillhouse.v1.evaluator_pb2 import EvaluateRequest
from stillhouse.v1.exporter_pb2 import ExportRequest
from stillhouse.v1.trainer_pb2 import TrainRequest

REQUESTS = {
    "dataset_builder": BuildDatasetRequest,
    "evaluator": EvaluateRequest,
    "exporter": ExportRequest,
    "trainer": TrainRequest,
}

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


HELD = """
import os, signal, sys
from stillhouse.rpc.process import hold_signals, stop_on_signals
hold_signals()
os.kill(os.getpid(), signal.{name})
print("imports", flush=True)
with stop_on_signals() as stop:
    assert stop.event.wait(5)
    raise SystemExit(stop.exit_code)
"""


def test_a_signal_that_comes_before_the_process_listens_is_heard_when_it_does() -> None:
    for name, code in ((signal.SIGTERM.name, 143), (signal.SIGINT.name, 130)):
        done = subprocess.run(
            [sys.executable, "-c", HELD.format(name=name)], timeout=60, check=False, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (code, "imports\n"), done.stderr


@pytest.mark.parametrize("service", ["dataset_builder", "evaluator", "exporter", "trainer"])
def test_a_job_that_is_stopped_while_it_imports_exits_143_with_a_status(service: str, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    message = any_pb2.Any()
    message.Pack(REQUESTS[service](store_uri=f"file://{tmp_path}/store"))
    request.write_text(json_format.MessageToJson(message))
    process = subprocess.Popen(
        [sys.executable, "-m", f"stillhouse.{service}", "run", "--request", str(request)],
        env={**os.environ, "STILLHOUSE_TERMINATION_LOG": str(tmp_path / "status.json")},
        stderr=subprocess.PIPE,
        text=True,
    )
    # As soon as the signals are held, long before a Job listens for them.
    while process.poll() is None and not holds_sigterm(process.pid):
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=120)

    assert process.returncode == 143, log[-2000:]
    assert "stopped on request" in (tmp_path / "status.json").read_text()


def holds_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    blocked = int(next(line for line in status.splitlines() if line.startswith("SigBlk:")).split()[1], 16)
    return bool(blocked & 1 << (signal.SIGTERM - 1))
