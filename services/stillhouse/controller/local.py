"""Runs stages as subprocesses of this machine: starts, stops, observes. It decides nothing; plan() does.

`rpc.subprocesses` is how a Job becomes a process; here is which Jobs there are, and the model servers beside them.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message

from stillhouse.controller.plan import Observation, PlannedStep
from stillhouse.errors import EXIT_DONE, EXIT_TEMPORARY, InvalidArgument
from stillhouse.rpc.subprocesses import JobProcess, end_process, free_port, start_job, start_python
from stillhouse.rpc.tracing import Span, begin, following
from stillhouse.v1.artifact_pb2 import Artifact

_STOP_SECONDS = 30.0
_SERVER_STOP_SECONDS = 5.0


@dataclass
class _Job:
    step: PlannedStep
    run: JobProcess
    server: subprocess.Popen[bytes] | None
    attempts: int
    span: Span
    """Of the stage on this machine, from the process's start to its end."""
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
        lock: int | None = None,
    ) -> None:
        """`slots` and `context_tokens` are the model servers'; `directory` is there.

        Stages keep the file descriptor `lock` open: the run's, which is free only when the last of them is gone.
        """
        if store_uri.startswith("memory:"):
            raise InvalidArgument(
                f"{store_uri}: stages are processes of their own and cannot share memory; use file://"
            )
        self._directory = directory
        self._store_uri = store_uri
        self._slots = slots
        self._context_tokens = context_tokens
        self._inherited = () if lock is None else (lock,)
        self._jobs: dict[str, _Job] = {}

    @property
    def log_file(self) -> Path:
        """Where every stage's standard error goes, one JSON line an event."""
        return self._directory / "run.log"

    def start(self, step: PlannedStep) -> None:
        """Starts the step's job, and a server of the model that it needs beside it."""
        previous = self._jobs.get(step.key)
        attempts = previous.attempts + 1 if previous else 1
        server, address = None, ""
        span = begin(f"step {step.name}", attributes={"stillhouse.key": step.key, "stillhouse.attempt": attempts})
        with following(span.trace_parent):
            if step.serves is not None:
                port = free_port()
                server, address = self.serve(step.serves, port=port), f"127.0.0.1:{port}"
            run = start_job(
                f"stillhouse.{step.service}",
                self._request(step, address),
                name=step.name,
                directory=self._directory,
                log=self.log_file,
                inherited=self._inherited,
            )
        self._jobs[step.key] = _Job(step, run, server, attempts, span)

    def serve(self, model: Artifact, *, port: int) -> subprocess.Popen[bytes]:
        """A student-inference server of that model on loopback."""
        arguments = ["--model", f"sha256:{model.sha256}", "--store", self._store_uri, "--port", str(port)]
        sizes = ["--parallel", str(self._slots), "--context", str(self._context_tokens)]
        command = ["-m", "stillhouse.student_inference", "serve", *arguments, *sizes]
        with self.log_file.open("ab") as log:
            return start_python(command, output=log, inherited=self._inherited)

    def stop(self, key: str) -> None:
        """Asks the job to save a checkpoint and stop."""
        job = self._jobs.get(key)
        if job is not None and job.run.process.poll() is None:
            job.run.process.send_signal(signal.SIGTERM)

    def observe(self) -> Mapping[str, Observation]:
        """All jobs that this backend has started, by key."""
        return {key: self._observe(job) for key, job in self._jobs.items()}

    def close(self) -> None:
        """Stops everything that runs and waits for it."""
        for key in self._jobs:
            self.stop(key)
        deadline = time.monotonic() + _STOP_SECONDS
        for job in self._jobs.values():
            _end(job, max(deadline - time.monotonic(), 0.1))
            if not job.ended_at:
                job.span.end("stopped")

    def _observe(self, job: _Job) -> Observation:
        exit_code = job.run.process.poll()
        if exit_code is None:
            self._check_server(job)
            return Observation(running=True, attempts=job.attempts)
        if not job.ended_at:
            job.ended_at = time.monotonic()
            _end(job, 0)
            job.span.end("" if exit_code == EXIT_DONE else f"exit {exit_code}")
        message = job.run.exit_message()
        if job.server_exit_code is not None:
            exit_code = job.server_exit_code or EXIT_TEMPORARY  # a server that says it is done has left its job alone
            message = f"the server of the model ended with {job.server_exit_code}; see {self.log_file}"
        if exit_code < 0:  # killed by that signal
            exit_code = EXIT_TEMPORARY
        return Observation(
            running=False, attempts=job.attempts, exit_code=exit_code, ended_at=job.ended_at, message=message
        )

    def _check_server(self, job: _Job) -> None:
        """A job whose server is gone would wait in vain."""
        if job.server is not None and job.server_exit_code is None and job.server.poll() is not None:
            job.server_exit_code = job.server.returncode
            job.run.process.send_signal(signal.SIGTERM)

    def _request(self, step: PlannedStep, address: str) -> Message:
        if step.request is None:
            raise ValueError(f"step {step.name} has no request yet")
        request = type(step.request)()
        request.CopyFrom(step.request)
        request.store_uri = self._store_uri  # type: ignore[attr-defined]
        if address:
            request.student_address = address  # type: ignore[attr-defined]
        return request


def _end(job: _Job, seconds: float) -> None:
    """Ends the job, after so many seconds with force, and the server beside it."""
    end_process(job.run.process, seconds)
    if job.server is not None:
        end_process(job.server, _SERVER_STOP_SECONDS)
