from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from stillhouse.errors import Cancelled, FailedPrecondition, ResourceExhausted
from stillhouse.exporter.tool import run_tool


def _run(program: str, folder: Path, stopping: threading.Event | None = None) -> None:
    run_tool(
        "the tool",
        [sys.executable, "-c", program],
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
            "import sys; print('x' * 9000); sys.exit('the last word') if 0 else (print('last word'), sys.exit(3))",
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


def test_stopping_ends_the_tool_at_once(tmp_path: Path) -> None:
    stopping = threading.Event()
    threading.Timer(0.5, stopping.set).start()
    started = time.monotonic()
    with pytest.raises(Cancelled, match="the tool"):
        _run("import time; time.sleep(60)", tmp_path, stopping)
    assert time.monotonic() - started < 10
