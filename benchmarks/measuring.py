"""What benchmarks share: constants, the test server, a process with its usage, the file of figures.

Imports the standard library alone: a process counts the memory of who started it as its own, so who measures stays
small, and the other library's interpreter reads the constants, too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROLE, MODEL, SEED = "product_owner", "gemini-2.5-flash", 42
TEMPERATURE, MAX_OUTPUT_TOKENS, MIN_SCORE = 0.7, 8192, 0.8


@contextmanager
def emulator(*flags: str) -> Iterator[tuple[str, str]]:
    """The gRPC and OpenAI addresses of a Vertex emulator in a process of its own, while it serves."""
    command = [sys.executable, "-m", "stillhouse.vertex_emulator", "--openai-port", "0", *flags]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url, openai = process.stdout.readline().strip(), process.stdout.readline().split()
            if not openai:
                raise RuntimeError("the emulator does not start")
            yield url, openai[-1]
        finally:
            process.terminate()


def usage_of(command: Sequence[str], log: Path) -> tuple[float, float, float]:
    """Runs a command: wall seconds, CPU seconds, peak memory in MB. Raises RuntimeError with the end of its output."""
    began = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
    try:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace")[-1500:]
        raise RuntimeError(f"{' '.join(command[:4])} ended with {process.returncode}:\n{tail}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def save(figures: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Writes the figures with settings and machine to `--output`, where it is given."""
    if options.output is None:
        return
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    document = {"settings": settings, "machine": platform.platform(), "cpus": os.cpu_count(), **figures}
    options.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def carry_out(
    options: argparse.Namespace,
    measure: Callable[[argparse.Namespace, Path], Mapping[str, Any]],
    show: Callable[[Mapping[str, Any]], None],
) -> int:
    """Measures in a folder that goes again, shows and saves the report; the exit code: 1 where a target is missed."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        report = measure(options, Path(folder))
    show(report)
    save(report, options)
    return 1 if report["missed"] else 0
