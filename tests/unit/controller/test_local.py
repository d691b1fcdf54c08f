"""The laptop's backend: real subprocesses of a stand-in service, started, observed, stopped and retried."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stillhouse.controller.local import LocalBackend
from stillhouse.controller.plan import Observation, PlannedStep, StepState
from stillhouse.errors import InvalidArgument
from stillhouse.v1.trainer_pb2 import PrepareBaseRequest

KEY = "a" * 64


def step(service: str = "trainer", name: str = "builtin:none") -> PlannedStep:
    return PlannedStep("base", service, "base", StepState.READY, KEY, PrepareBaseRequest(name=name))


def wait_for(backend: LocalBackend, done: Callable[[Observation], bool]) -> Observation:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        seen = backend.observe()[KEY]
        if done(seen):
            return seen
        time.sleep(0.05)
    raise AssertionError(f"never happened: {backend.observe()[KEY]}")


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path, f"file://{tmp_path}/store", slots=1, context_tokens=512)


def test_a_failed_job_is_observed_with_its_code_and_message(backend: LocalBackend) -> None:
    backend.start(step())
    seen = wait_for(backend, lambda seen: not seen.running)
    assert seen.exit_code == 65
    assert "builtin:none" in seen.message
    assert seen.attempts == 1


def test_a_job_that_ended_without_a_status_points_to_the_log(backend: LocalBackend) -> None:
    backend.start(step(service="no_such_service"))
    seen = wait_for(backend, lambda seen: not seen.running)
    assert seen.exit_code == 1
    assert str(backend.log_file) in seen.message


def test_a_killed_job_may_be_tried_again(backend: LocalBackend) -> None:
    backend.start(step(name="builtin:tiny"))
    (job,) = backend._jobs.values()
    job.run.process.kill()
    seen = wait_for(backend, lambda seen: not seen.running)
    assert seen.exit_code == 75
    assert "killed by SIGKILL" in seen.message


def test_a_second_start_counts_as_an_attempt(backend: LocalBackend) -> None:
    for _ in range(2):
        backend.start(step(service="no_such_service"))
        wait_for(backend, lambda seen: not seen.running)
    assert backend.observe()[KEY].attempts == 2


def test_closing_stops_what_runs(backend: LocalBackend) -> None:
    backend.start(step(name="builtin:tiny"))
    backend.close()
    assert not backend.observe()[KEY].running


def test_stages_cannot_share_memory(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="use file://"):
        LocalBackend(tmp_path, "memory://x", slots=1, context_tokens=512)
