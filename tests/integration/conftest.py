"""One finished run with random weights for all tests that need one."""

from __future__ import annotations

import time

import pytest

from tiny_run import FinishedRun, machine_in


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    machine = machine_in(tmp_path_factory.mktemp("finished") / "machine")
    started = time.monotonic()
    output = machine.run()
    return FinishedRun(machine, time.monotonic() - started, output)
