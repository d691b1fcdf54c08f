"""Runs stages as subprocesses of this machine: starts, stops, observes. It decides nothing; plan() does.

Each stage is `python -m stillhouse.<service> run --request FILE`. Its standard input is a pipe from the runner: when
the runner is gone, however it went, the pipe ends and the stage stops too.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage

from stillhouse.controller.plan import Observation, PlannedStep
from stillhouse.errors import EXIT_PERMANENT, EXIT_TEMPORARY, EXIT_TERMINATED, InvalidArgument
from stillhouse.v1.artifact_pb2 import Artifact

_STOP_SECONDS = 30.0


@dataclass
class _Job:
    step: PlannedStep
    process: subprocess.Popen[bytes]
    server: subprocess.Popen[bytes] | None
    status_file: Path
    attempts: int
    ended_at: float = 0.0
    server_exit_code: int | None = None
    """Of a server that went away while the job needed it."""


class LocalBackend:
    """Jobs as subprocesses, with their requests, logs and final statuses in `directory`."""

    def __init__(
        self,
        directory: Path,
        store_uri: str,
        *,
        slots: int,
        context_tokens: int,
        checkpoint_seconds: int = 0,
    ) -> None:
        """`slots` and `context_tokens` are the model servers'; `checkpoint_seconds` 0 leaves it to the trainer."""
        if store_uri.startswith("memory:"):
            raise InvalidArgument(
                f"{store_uri}: stages are processes of their own and cannot share memory; use file://"
            )
        self._directory = directory
        self._store_uri = store_uri
        self._slots = slots
        self._context_tokens = context_tokens
        self._checkpoint_seconds = checkpoint_seconds
        self._inherited: tuple[int, ...] = ()
        self._jobs: dict[str, _Job] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def hold(self, descriptor: int) -> None:
        """Stages keep this file descriptor open: the run's lock, which is free only when the last of them is gone."""
        self._inherited = (descriptor,)

    @property
    def log_file(self) -> Path:
        """Where every stage's standard error goes, one JSON line an event."""
        return self._directory / "run.log"

    def start(self, step: PlannedStep) -> None:
        """Starts the step's job, and a server of the model that it needs beside it."""
        previous = self._jobs.get(step.key)
        attempts = previous.attempts + 1 if previous else 1
        server, address = None, ""
        if step.serves is not None:
            port = free_port()
            server, address = self.serve(step.serves, port=port), f"127.0.0.1:{port}"
        request_file = self._write_request(step, address)
        status_file = self._directory / f"{step.name}.status.json"
        status_file.unlink(missing_ok=True)
        process = self._spawn(
            ["-m", f"stillhouse.{step.service}", "run", "--request", str(request_file)],
            {"STILLHOUSE_TERMINATION_LOG": str(status_file)},
        )
        self._jobs[step.key] = _Job(step, process, server, status_file, attempts)

    def serve(self, model: Artifact, *, port: int) -> subprocess.Popen[bytes]:
        """A student-inference server of that model on loopback."""
        arguments = ["--model", f"sha256:{model.sha256}", "--store", self._store_uri, "--port", str(port)]
        sizes = ["--parallel", str(self._slots), "--context", str(self._context_tokens)]
        return self._spawn(["-m", "stillhouse.student_inference", "serve", *arguments, *sizes], {})

    def stop(self, key: str) -> None:
        """Asks the job to save a checkpoint and stop."""
        job = self._jobs.get(key)
        if job is not None and job.process.poll() is None:
            job.process.send_signal(signal.SIGTERM)

    def observe(self) -> Mapping[str, Observation]:
        """All jobs that this backend has started, by key."""
        return {key: self._observe(job) for key, job in self._jobs.items()}

    def close(self) -> None:
        """Stops everything that runs and waits for it."""
        for key in self._jobs:
            self.stop(key)
        deadline = time.monotonic() + _STOP_SECONDS
        for job in self._jobs.values():
            end_process(job.process, max(deadline - time.monotonic(), 0.1))
            if job.server is not None:
                end_process(job.server, 5.0)

    def _observe(self, job: _Job) -> Observation:
        exit_code = job.process.poll()
        if exit_code is None:
            self._check_server(job)
            return Observation(running=True, attempts=job.attempts)
        if not job.ended_at:
            job.ended_at = time.monotonic()
            end_process(job.process, 0)
            if job.server is not None:
                end_process(job.server, 5.0)
        message = _status_message(job.status_file) or _exit_message(exit_code, self.log_file)
        if job.server_exit_code is not None:
            exit_code = job.server_exit_code if job.server_exit_code > 0 else EXIT_TEMPORARY
            message = f"the server of the model ended with {job.server_exit_code}; see {self.log_file}"
        return Observation(
            running=False, attempts=job.attempts, exit_code=exit_code, ended_at=job.ended_at, message=message
        )

    def _check_server(self, job: _Job) -> None:
        """A job whose server is gone would wait in vain."""
        if job.server is not None and job.server_exit_code is None and job.server.poll() is not None:
            job.server_exit_code = job.server.returncode
            job.process.send_signal(signal.SIGTERM)

    def _write_request(self, step: PlannedStep, address: str) -> Path:
        if step.request is None:
            raise ValueError(f"step {step.name} has no request yet")
        request = type(step.request)()
        request.CopyFrom(step.request)
        request.store_uri = self._store_uri  # type: ignore[attr-defined]
        if address:
            request.student_address = address  # type: ignore[attr-defined]
        if self._checkpoint_seconds and "checkpoint_seconds" in request.DESCRIPTOR.fields_by_name:
            request.checkpoint_seconds = self._checkpoint_seconds  # type: ignore[attr-defined]
        packed = AnyMessage()
        packed.Pack(request)
        path = self._directory / f"{step.name}.request.json"
        path.write_text(json_format.MessageToJson(packed), encoding="utf-8")
        return path

    def _spawn(self, arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "STILLHOUSE_WATCH_STDIN": "1", **environment},
                start_new_session=True,  # Ctrl-C reaches the runner alone, which stops its stages in order
                pass_fds=self._inherited,
            )


def free_port() -> int:
    """A TCP port of loopback that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


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


def _status_message(path: Path) -> str:
    try:
        status: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(status.get("message", ""))


def _exit_message(exit_code: int, log_file: Path) -> str:
    if exit_code == EXIT_TERMINATED:
        return "stopped after a checkpoint"
    if exit_code < 0:
        return f"killed by {signal.Signals(-exit_code).name}"
    what = "failed for good" if exit_code == EXIT_PERMANENT else f"exited {exit_code}"
    return f"{what} without a status; see {log_file}"
