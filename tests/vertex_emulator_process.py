"""The Vertex test server in a process of its own, for tests of who asks it: starts it, reads its address, ends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 90


@dataclass
class EmulatorProcess:
    """A running server; `log` is where its standard error goes."""

    process: subprocess.Popen[str]
    url: str
    """`http://127.0.0.1:4711`."""
    openai_url: str | None
    """`http://127.0.0.1:4712/v1`."""
    log: Path
    bill_log: Path
    """A line of JSON (digest, model, output_tokens) for every billed call, there before its answer was sent."""
    stats_file: Path

    @property
    def address(self) -> str:
        return self.url.partition("://")[2]

    def billed(self) -> list[dict[str, Any]]:
        """The whole lines of the bill log."""
        return [json.loads(line) for line in self.bill_log.read_text().splitlines()]

    def stats(self) -> dict[str, Any]:
        """The counts, at most 0.1 s old."""
        return dict(json.loads(self.stats_file.read_text()))


def emulator_command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "stillhouse.vertex_emulator", *flags]


@contextmanager
def vertex_emulator(
    scratch: Path, *flags: str, environment: Mapping[str, str] | None = None
) -> Iterator[EmulatorProcess]:
    """Serves on a free port unless --port is among the flags; kills the process at the end if it is still there."""
    log, bill_log, stats = (scratch / f"emulator.{name}" for name in ("log", "bill.jsonl", "stats.json"))
    command = emulator_command("--bill-log", str(bill_log), "--stats", str(stats), *flags)
    with log.open("a") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    timer = threading.Timer(START_SECONDS, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http"), f"it does not serve: {url!r}\n{log.read_text()[-3000:]}"
        openai = process.stdout.readline().split() if "--openai-port" in flags else []
        timer.cancel()
        yield EmulatorProcess(process, url, openai[-1] if openai else None, log, bill_log, stats)
    finally:
        timer.cancel()
        process.kill()
        process.wait(30)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
