"""A Job as a subprocess: its own words, its exit code's, and its end with the process that started it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from stillhouse.rpc.subprocesses import JobProcess, end_process, start_job, start_python
from stillhouse.v1.trainer_pb2 import PrepareBaseRequest

RUNNER = """
import sys, time
from pathlib import Path
from stillhouse.rpc.subprocesses import start_python
program = "import os, sys, time; from stillhouse.rpc.process import *; stop = StopRequest(); "
program += "watch_runner(stop, os.environ); print('watching', flush=True); stop.event.wait(60)"
process = start_python(["-c", program], output=Path(sys.argv[1]).open("ab"))
print(process.pid, flush=True)
time.sleep(60)
"""


def wait_for_text(path: Path, text: str) -> None:
    deadline = time.monotonic() + 60
    while not (path.is_file() and text in path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_failed_job_says_why_in_its_own_words(tmp_path: Path) -> None:
    request = PrepareBaseRequest(name="builtin:none", store_uri=f"file://{tmp_path}/store")
    job = start_job("stillhouse.trainer", request, name="base", directory=tmp_path, log=tmp_path / "log")
    try:
        assert job.process.wait(timeout=90) == 65
    finally:
        end_process(job.process, 1)
    assert "builtin:none" in job.exit_message()


def ended(tmp_path: Path, program: str) -> JobProcess:
    process = start_python(["-c", program])
    process.wait(timeout=60)
    end_process(process, 1)
    return JobProcess(process, tmp_path / "no.status.json", tmp_path / "log")


def test_a_job_without_a_word_is_described_by_its_exit_code_and_log(tmp_path: Path) -> None:
    assert ended(tmp_path, "raise SystemExit(7)").exit_message() == f"exited 7 without a status; see {tmp_path / 'log'}"
    assert ended(tmp_path, "raise SystemExit(143)").exit_message() == "stopped after a checkpoint"
    killed = ended(tmp_path, "import os; os.kill(os.getpid(), 9)").exit_message()
    assert killed == f"killed by SIGKILL; see {tmp_path / 'log'}"


def test_a_stale_status_is_not_taken_for_the_jobs_own(tmp_path: Path) -> None:
    (tmp_path / "base.status.json").write_text('{"message": "of an earlier attempt"}')
    job = start_job("no_such_module", PrepareBaseRequest(), name="base", directory=tmp_path, log=tmp_path / "log")
    try:
        assert job.process.wait(timeout=60) == 1
    finally:
        end_process(job.process, 1)
    assert "exited 1 without a status" in job.exit_message()


def test_a_process_hears_that_its_runner_was_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(log)], stdout=subprocess.PIPE, text=True)
    assert runner.stdout is not None
    pid = int(runner.stdout.readline())
    wait_for_text(log, "watching")
    runner.send_signal(signal.SIGKILL)
    runner.wait(timeout=30)
    runner.stdout.close()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
