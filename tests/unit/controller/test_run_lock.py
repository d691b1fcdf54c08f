"""A run's lock, which its stages inherit."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stillhouse.controller.run_lock import exclusive, runner_pid
from stillhouse.errors import PermissionDenied, Unavailable

HOLDER = """
import sys
from pathlib import Path
from stillhouse.controller.run_lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
STAGE = """
import os, sys
os.read(int(sys.argv[2]), 1)
open(os.path.join(sys.argv[1], "stage ended"), "w").close()
"""
KILLED_RUNNER = f"""
import os, subprocess, sys
from pathlib import Path
from stillhouse.controller.run_lock import exclusive
with exclusive(Path(sys.argv[1])) as lock:
    pipe = int(sys.argv[2])
    subprocess.Popen([sys.executable, "-c", {STAGE!r}, *sys.argv[1:]], pass_fds=[lock, pipe])
    os._exit(9)
"""


def test_a_second_runner_of_the_same_run_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert runner_pid(tmp_path) == holder.pid
        with pytest.raises(Unavailable, match=f"under way already, as process {holder.pid}"), exclusive(tmp_path):
            pass
    assert runner_pid(tmp_path) is None


def test_a_run_waits_for_the_stages_of_a_killed_runner(tmp_path: Path) -> None:
    go_on, told = os.pipe()
    command = [sys.executable, "-c", KILLED_RUNNER, str(tmp_path), str(go_on)]
    assert subprocess.run(command, pass_fds=[go_on], check=False).returncode == 9
    ending = threading.Timer(0.3, os.write, [told, b"!"])
    ending.start()
    with exclusive(tmp_path):
        assert (tmp_path / "stage ended").exists()
    ending.join()
    os.close(go_on)
    os.close(told)


def test_a_folder_that_cannot_be_made_is_named_with_the_variable_that_moves_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(PermissionDenied, match=r"file/run can't be written: Not a directory; set STILLHOUSE_RUNS"),
        exclusive(tmp_path / "file" / "run"),
    ):
        pass
