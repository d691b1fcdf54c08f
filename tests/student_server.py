"""A real student server in a process of its own, for tests: starts it, waits until it serves, ends it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60


@dataclass
class StudentServer:
    """A running server; `errors` is where its log goes."""

    process: subprocess.Popen[str]
    address: str
    errors: Path


def server_command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "stillhouse.student_inference", "serve", *flags]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def student_server(
    model: str, scratch: Path, *flags: str, environment: Mapping[str, str] | None = None
) -> Iterator[StudentServer]:
    """Serves `model` on a free port; kills the process at the end if it is still there."""
    errors = scratch / f"student-{free_port()}.log"
    with errors.open("w") as log:
        process = subprocess.Popen(
            server_command("--model", model, "--port", "0", "--threads", "1", *flags),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    timer = threading.Timer(START_SECONDS, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        timer.cancel()
        match = re.search(r"on (\S+:\d+)$", line.strip())
        assert match, f"it does not serve: {line!r}\n{errors.read_text()[-3000:]}"
        yield StudentServer(process, match.group(1), errors)
    finally:
        timer.cancel()
        process.kill()
        process.wait(30)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
