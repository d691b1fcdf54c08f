"""A port of this machine that leads to a Service of the cluster, made by kubectl for as long as a command needs it."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from stillhouse.errors import FailedPrecondition, Unavailable

_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")
# Standard input is a pipe from here: when this process is gone, however it went, kubectl is ended too.
_TETHERED = '"$@" & child=$!; exec >&-; read -r _; kill "$child"; wait'
_READY_SECONDS = 30.0
_STOP_SECONDS = 5.0


@contextmanager
def forwarded(service: str, port: int, *, namespace: str, context: str | None) -> Iterator[int]:
    """Yields the local port. Raises FailedPrecondition without kubectl, Unavailable where nothing answers there."""
    with tempfile.TemporaryFile() as errors:
        # A session of its own: Ctrl-C is for the command, which ends what it has started.
        process = subprocess.Popen(
            ["sh", "-c", _TETHERED, "sh", *_command(service, port, namespace=namespace, context=context)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            yield _local_port(process, errors, f"Service {namespace}/{service}")
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None  # noqa: S101 - both were asked for
    assert process.stdout is not None  # noqa: S101
    process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    process.stdout.close()


def _command(service: str, port: int, *, namespace: str, context: str | None) -> list[str]:
    program = shutil.which("kubectl")
    if program is None:
        raise FailedPrecondition(
            f"kubectl is not on the PATH; it makes the way to Service {namespace}/{service}: install it "
            "(https://kubernetes.io/docs/tasks/tools/)"
        )
    chosen = ["--context", context] if context else []
    where = ["--namespace", namespace, "port-forward", "--address=127.0.0.1"]
    return [program, *chosen, *where, f"service/{service}", f":{port}"]


def _local_port(process: subprocess.Popen[bytes], errors: IO[bytes], title: str) -> int:
    found: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(process, found), name="port-forward", daemon=True).start()
    port = None
    with contextlib.suppress(queue.Empty):
        port = found.get(timeout=_READY_SECONDS)
    if port is None:
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()[-1:] or ["kubectl said nothing"]
        raise Unavailable(f"{title} can't be reached: {said[0].removeprefix('error: ')}")
    return port


def _read(process: subprocess.Popen[bytes], found: queue.SimpleQueue[int | None]) -> None:
    """Reads on for as long as kubectl speaks: it says a line a connection."""
    assert process.stdout is not None  # noqa: S101 - it was asked for
    with contextlib.suppress(ValueError):  # closed by whoever ended it
        for line in process.stdout:
            if (match := _FORWARDING.search(line.decode(errors="replace"))) is not None:
                found.put(int(match[1]))
    found.put(None)
