"""Jobs and servers as subprocesses of this machine: started with a request, a log and a status file, and ended.

Called by the local backend and by the commands that run one stage. It must not know plans, stores or what a stage does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from stillhouse.errors import EXIT_PERMANENT, EXIT_TERMINATED
from stillhouse.rpc.job import TERMINATION_LOG_VARIABLE
from stillhouse.rpc.process import WATCH_STDIN_VARIABLE


@dataclass(frozen=True)
class JobProcess:
    """A started `python -m stillhouse.<service> run --request FILE`."""

    process: subprocess.Popen[bytes]
    status_file: Path
    """Where the Job leaves its final google.rpc.Status."""
    log: Path

    def exit_message(self) -> str:
        """Why the ended Job failed: its own words, else what its exit code says."""
        return _status_message(self.status_file) or _code_message(self.process.returncode, self.log)


def start_job(
    service: str, request: Message, *, name: str, directory: Path, log: Path, inherited: Sequence[int] = ()
) -> JobProcess:
    """Starts the Job; NAME.request.json and NAME.status.json lie in `directory`, its output is added to `log`.

    `request` already names its store. `inherited` are file descriptors that the Job keeps open.
    """
    packed = AnyMessage()
    packed.Pack(request)
    request_file, status_file = directory / f"{name}.request.json", directory / f"{name}.status.json"
    request_file.write_text(json_format.MessageToJson(packed), encoding="utf-8")
    status_file.unlink(missing_ok=True)
    process = start_python(
        ["-m", f"stillhouse.{service}", "run", "--request", str(request_file)],
        log=log,
        environment={TERMINATION_LOG_VARIABLE: str(status_file)},
        inherited=inherited,
    )
    return JobProcess(process, status_file, log)


def start_python(
    arguments: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None, inherited: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """A process of ours whose standard input is a pipe from here: when this process is gone, however it went, the pipe
    ends and the other stops too. End it with `end_process`, which closes the pipe.
    """
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            env={**os.environ, WATCH_STDIN_VARIABLE: "1", **(environment or {})},
            start_new_session=True,  # Ctrl-C reaches this process alone, which stops its Jobs in order
            pass_fds=tuple(inherited),
        )


def end_process(process: subprocess.Popen[bytes], seconds: float) -> None:
    """SIGTERM, then SIGKILL after that many seconds; closes its pipe."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin is not None:
        process.stdin.close()


def free_port() -> int:
    """A TCP port of loopback that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _status_message(path: Path) -> str:
    try:
        status = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(status.get("message", "")) if isinstance(status, dict) else ""


def _code_message(exit_code: int, log: Path) -> str:
    if exit_code == EXIT_TERMINATED:
        return "stopped after a checkpoint"
    if exit_code < 0:
        return f"killed by {signal.Signals(-exit_code).name}; see {log}"
    what = "failed for good" if exit_code == EXIT_PERMANENT else f"exited {exit_code}"
    return f"{what} without a status; see {log}"
