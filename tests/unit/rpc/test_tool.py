from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stillhouse.errors import Cancelled, FailedPrecondition, ResourceExhausted
from stillhouse.rpc.tool import run_tool


def _run(program: str, folder: Path, stopping: threading.Event | None = None) -> None:
    script = folder / "program.py"
    script.write_text(program)
    run_tool(
        "the tool",
        [sys.executable, str(script)],
        log=folder / "tool.log",
        stopping=stopping or threading.Event(),
        environment={"STILLHOUSE_TEST": "given"},
    )


def test_a_tool_that_succeeds_leaves_its_output_in_the_log(tmp_path: Path) -> None:
    _run("import os; print(os.environ['STILLHOUSE_TEST'])", tmp_path)
    assert (tmp_path / "tool.log").read_text() == "given\n"


def test_the_end_of_a_failed_tools_output_is_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="the tool failed with exit code 3") as failure:
        _run(
            "import sys; print('x' * 9000); print('last word'); sys.exit(3)",
            tmp_path,
        )
    assert failure.value.message.endswith("last word")
    assert len(failure.value.message) < 2200


def test_a_full_disk_can_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(ResourceExhausted, match="no space left"):
        _run("raise OSError(28, 'No space left on device')", tmp_path)


def test_a_killed_tool_says_that_memory_ran_out(tmp_path: Path) -> None:
    with pytest.raises(ResourceExhausted, match="memory"):
        _run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", tmp_path)


WITH_A_CHILD = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
with open("pids", "w") as file:
    file.write(f"{os.getpid()} {child.pid}\\n")
time.sleep(120)
"""

EXPORTER = """
import sys, threading
from pathlib import Path
from stillhouse.rpc.tool import run_tool
run_tool("it", [sys.executable, sys.argv[1]], log=Path(sys.argv[2]), stopping=threading.Event())
"""


def is_alive(pid: int) -> bool:
    """A process that ended and that nobody has waited for yet is no longer alive."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def await_pids(file: Path) -> list[int]:
    deadline = time.monotonic() + 60
    while not (file.is_file() and file.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [int(pid) for pid in file.read_text().split()]


def await_end(pids: list[int]) -> None:
    deadline = time.monotonic() + 30
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still there: {[pid for pid in pids if is_alive(pid)]}"
        time.sleep(0.05)


def test_a_tool_and_its_children_end_with_an_exporter_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(WITH_A_CHILD)
    exporter = subprocess.Popen([sys.executable, "-c", EXPORTER, str(script), str(tmp_path / "tool.log")])
    pids = await_pids(tmp_path / "pids")
    assert all(is_alive(pid) for pid in pids)

    exporter.send_signal(signal.SIGKILL)

    assert exporter.wait(timeout=30) == -signal.SIGKILL
    await_end(pids)


def test_stopping_ends_the_tool_and_its_children(tmp_path: Path) -> None:
    stopping = threading.Event()
    threading.Thread(target=lambda: (await_pids(tmp_path / "pids"), stopping.set())).start()
    with pytest.raises(Cancelled, match="the tool"):
        _run(WITH_A_CHILD, tmp_path, stopping)
    await_end(await_pids(tmp_path / "pids"))


def test_a_tool_finds_its_arguments_its_own_folder_and_an_empty_input(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "beside.py").write_text("WORD = 'found'")
    script = tmp_path / "scripts" / "program.py"
    script.write_text("import sys, beside; print(sys.argv[1:], beside.WORD, repr(sys.stdin.read()), __name__)")
    log = tmp_path / "tool.log"
    run_tool("it", [sys.executable, str(script), "a", "-b"], log=log, stopping=threading.Event())
    assert log.read_text() == "['a', '-b'] found '' __main__\n"


def test_a_module_is_run_as_python_runs_it(tmp_path: Path) -> None:
    log = tmp_path / "tool.log"
    command = [sys.executable, "-m", "json.tool", "--help"]
    run_tool("it", command, log=log, stopping=threading.Event(), environment={"COLUMNS": "80"})
    plain = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "80"})
    assert "--sort-keys" in plain.stdout
    assert "--sort-keys" in log.read_text()
