"""Jobs and servers as subprocesses of this machine: started with a request, a log and a status file, and ended.

Called by batch calls, the local backend and the commands that run one stage or serve one model. It must not know plans,
stores or what a stage does.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from stillhouse.artifacts.messages import message_json
from stillhouse.errors import EXIT_PERMANENT, EXIT_TERMINATED
from stillhouse.rpc.config import METRICS_PORT_VARIABLE
from stillhouse.rpc.job import TERMINATION_LOG_VARIABLE
from stillhouse.rpc.process import WATCH_STDIN_VARIABLE
from stillhouse.rpc.tracing import TRACE_PARENT_VARIABLE, trace_parent


@dataclass(frozen=True)
class JobProcess:
    """A started `python -m MODULE run --request FILE`."""

    process: subprocess.Popen[bytes]
    status_file: Path
    """Where the Job leaves its final google.rpc.Status."""
    log: Path | None
    """None where its output goes where this process's goes."""

    def status(self) -> Status | None:
        """What the ended Job left; None if it was killed before it could."""
        try:
            return json_format.Parse(self.status_file.read_bytes(), Status())
        except (OSError, UnicodeDecodeError, json_format.ParseError):
            return None

    def exit_message(self) -> str:
        """Why the ended Job failed: its own words, else what its exit code says."""
        status = self.status()
        return status.message if status is not None and status.message else self._code_message()

    def _code_message(self) -> str:
        code, where = self.process.returncode, f"see {self.log or 'the log of its runner'}"
        if code == EXIT_TERMINATED:
            return "stopped after a checkpoint"
        if code < 0:
            return f"killed by {signal.Signals(-code).name}; {where}"
        what = "failed for good" if code == EXIT_PERMANENT else f"exited {code}"
        return f"{what} without a status; {where}"


def start_job(
    module: str, request: Message, *, name: str, directory: Path, log: Path | None = None, inherited: Sequence[int] = ()
) -> JobProcess:
    """Starts the Job; NAME.request.json and NAME.status.json lie in `directory`, its output is added to `log`.

    `request` already names its store. Without `log` the output is this process's. `inherited` are file descriptors that
    the Job keeps open.
    """
    packed = AnyMessage()
    packed.Pack(request)
    request_file, status_file = directory / f"{name}.request.json", directory / f"{name}.status.json"
    request_file.write_text(message_json(packed), encoding="utf-8")
    status_file.unlink(missing_ok=True)
    environment = {TERMINATION_LOG_VARIABLE: str(status_file)}
    command = ["-m", module, "run", "--request", str(request_file)]
    if log is None:
        return JobProcess(start_python(command, environment=environment, inherited=inherited), status_file, log)
    with log.open("ab") as output:
        process = start_python(command, output=output, environment=environment, inherited=inherited)
    return JobProcess(process, status_file, log)


def start_python(
    arguments: Sequence[str],
    *,
    output: IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
    inherited: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """A process of ours whose standard input is a pipe from here: when this process is gone, however it went, the pipe
    ends and the other stops too. End it with `end_process`, which closes the pipe.

    Its output goes to `output`, else where this process's goes. It belongs to the trace of whoever starts it.
    """
    given = {WATCH_STDIN_VARIABLE: "1", **(environment or {})}
    if parent := trace_parent():
        given[TRACE_PARENT_VARIABLE] = parent
    # The port for metrics is this process's.
    inherited_variables = {name: value for name, value in os.environ.items() if name != METRICS_PORT_VARIABLE}
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        env=inherited_variables | given,
        start_new_session=True,  # Ctrl-C reaches this process alone, which stops the others in order
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
