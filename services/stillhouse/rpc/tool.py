"""Runs one Python program to its end: the converter, pip, the llama.cpp probe, the quantizer.

Called by the exporter and by `stillhouse.downloads`. It must not know what a program does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from stillhouse.errors import Cancelled, FailedPrecondition, ResourceExhausted

POLL_SECONDS = 0.1
TERMINATE_SECONDS = 5.0
TAIL_CHARACTERS = 2000
OUT_OF_MEMORY_CODES = frozenset({-9, 137})


def run_tool(
    what: str,
    command: Sequence[str],
    *,
    log: Path,
    stopping: threading.Event,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Runs `command` with its output in `log` until it ends or `stopping` is set; it ends with this process, too.

    `command` is a Python, -m MODULE or a script's path, and arguments; `what` names it for a person. Raises Cancelled
    after having killed it where `stopping` was set, ResourceExhausted where disk or memory ran out, FailedPrecondition
    with the end of its output where it fails in any other way.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [command[0], "-m", "stillhouse.rpc.tethered", *command[1:]],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=log.parent,
            start_new_session=True,
        )
        try:
            code = _wait(process, stopping)
        finally:
            _end(process)
    if code is None:
        raise Cancelled(f"stopped while running {what}; the same command does it again")
    if code != 0:
        raise _failure(what, code, log)


def output_tail(log: Path) -> str:
    """The last 2,000 characters of a tool's output."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 4 * TAIL_CHARACTERS))
        return stream.read().decode("utf-8", "replace")[-TAIL_CHARACTERS:].strip()


def _wait(process: subprocess.Popen[bytes], stopping: threading.Event) -> int | None:
    """The exit code, or None where `stopping` came first."""
    while not stopping.is_set():
        try:
            return process.wait(timeout=POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leaves no process behind, whatever happened: neither the program nor a child of it."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=TERMINATE_SECONDS)
    # Its group keeps its number while it has a member, even one that outlives the program.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _failure(what: str, code: int, log: Path) -> FailedPrecondition | ResourceExhausted:
    tail = output_tail(log)
    if "No space left on device" in tail:
        return ResourceExhausted(f"{what}: no space left on the device of {log.parent}; free disk space and repeat")
    if code in OUT_OF_MEMORY_CODES or "MemoryError" in tail:
        return ResourceExhausted(f"{what} was killed or ran out of memory (exit {code}); give it more memory\n{tail}")
    return FailedPrecondition(f"{what} failed with exit code {code}; the end of its output:\n{tail}")
