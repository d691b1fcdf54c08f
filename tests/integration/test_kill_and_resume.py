"""kill -9 of the runner or of a stage at random moments: the same command again ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from stillhouse.v1.dataset_builder_pb2 import BuildDatasetResult
from stillhouse.v1.trainer_pb2 import TrainResult
from tiny_run import FinishedRun, Machine, machine_in

pytestmark = pytest.mark.timeout(1800)

TOLERANCE = 1e-4


def stages_of(runner: int) -> list[int]:
    """Process ids of the runner's children."""
    return [int(pid) for pid in Path(f"/proc/{runner}/task/{runner}/children").read_text().split()]


def kill_somewhere(machine: Machine, seconds: float, dice: random.Random) -> None:
    """Lets a run go on for that long, then kills the runner or one of its stages with SIGKILL."""
    process = machine.start()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        children = stages_of(process.pid)
        victim = dice.choice([process.pid, *children])
        with contextlib.suppress(ProcessLookupError):  # a stage that has ended by itself
            os.kill(victim, signal.SIGKILL)
        if victim != process.pid:
            process.wait(900)
            return
    process.wait(30)


def check_resumes(machine: Machine, reference: Machine, seconds: float, seed: int) -> None:
    kill_somewhere(machine, seconds, random.Random(seed))
    before = machine.manifests() if any(machine.store.rglob("status.json")) else {}
    machine.run()
    after, expected = machine.manifests(), reference.manifests()
    assert after.keys() == expected.keys()
    for name, manifest in before.items():
        assert after[name] == manifest, f"{name} was done twice"
    data, expected_data = BuildDatasetResult(), BuildDatasetResult()
    after["dataset"].result.Unpack(data)
    expected["dataset"].result.Unpack(expected_data)
    assert data == expected_data
    training, expected_training = TrainResult(), TrainResult()
    after["train"].result.Unpack(training)
    expected["train"].result.Unpack(expected_training)
    assert abs(training.final_train_loss - expected_training.final_train_loss) < TOLERANCE
    assert abs(training.best_tuning_loss - expected_training.best_tuning_loss) < TOLERANCE


def moments(count: int) -> list[tuple[float, int]]:
    dice = random.Random(20)
    return [(dice.uniform(0.05, 0.95), index) for index in range(count)]


@pytest.mark.parametrize(("moment", "seed"), moments(2))
def test_a_killed_run_resumes_to_the_same_end(finished: FinishedRun, tmp_path: Path, moment: float, seed: int) -> None:
    check_resumes(machine_in(tmp_path / "machine"), finished.machine, moment * finished.seconds, seed)


@pytest.mark.soak
@pytest.mark.parametrize(("moment", "seed"), moments(10))
def test_a_killed_run_resumes_to_the_same_end_at_ten_moments(
    finished: FinishedRun, tmp_path: Path, moment: float, seed: int
) -> None:
    check_resumes(machine_in(tmp_path / "machine"), finished.machine, moment * finished.seconds, seed)
