"""kill -9 of the runner or of a stage at random moments: the same command again ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from stillhouse.artifacts.store import Store
from stillhouse.controller.runs import find_run
from stillhouse.v1.artifact_pb2 import Manifest
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetResult
from stillhouse.v1.trainer_pb2 import TrainResult

pytestmark = pytest.mark.timeout(1800)

SPEC = """
apiVersion: stillhouse.dev/v1alpha1
kind: Distillation
metadata: {name: tiny}
spec:
  role: product_owner
  dataset:
    imports: [{synthesized: {count: 24, seed: 3}}]
    minRecords: 4
  student:
    base: builtin:tiny
    training: {epochs: 2, learningRate: "1e-3", microBatchSize: 1}
  evaluation:
    maxTokens: 48
    gates: {minScore: null, maxGap: null, maxMedianSeconds: null, minValidRate: null, minGuardRate: null}
  serve: {port: 0}
"""
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Machine:
    """A laptop of its own: a store, a cache of runs, the shared downloads."""

    store: Path
    environment: dict[str, str]
    spec: Path

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "stillhouse.cli", "run", str(self.spec), "--store", str(self.store)]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )

    def run(self) -> str:
        process = self.start()
        output, _ = process.communicate(timeout=900)
        assert process.returncode in (0, 1), output.decode()
        return output.decode()

    def manifests(self) -> dict[str, Manifest]:
        store = Store.open(str(self.store))
        run = find_run(store, "tiny")
        found = {step["name"]: store.read_manifest(step["stage"], step["key"]) for step in run.steps if step["key"]}
        return {name: manifest for name, manifest in found.items() if manifest is not None}


def machine_in(directory: Path) -> Machine:
    directory.mkdir(parents=True)
    spec = directory / "tiny.yaml"
    spec.write_text(SPEC)
    # Locks and logs of its own; downloads are shared.
    environment = {**os.environ, "STILLHOUSE_RUNS": str(directory / "runs"), "OMP_NUM_THREADS": "1"}
    return Machine(directory / "store", environment, spec)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, float]:
    machine = machine_in(tmp_path_factory.mktemp("uninterrupted") / "machine")
    started = time.monotonic()
    machine.run()
    return machine, time.monotonic() - started


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
def test_a_killed_run_resumes_to_the_same_end(
    uninterrupted: tuple[Machine, float], tmp_path: Path, moment: float, seed: int
) -> None:
    reference, seconds = uninterrupted
    check_resumes(machine_in(tmp_path / "machine"), reference, moment * seconds, seed)


@pytest.mark.soak
@pytest.mark.parametrize(("moment", "seed"), moments(10))
def test_a_killed_run_resumes_to_the_same_end_at_ten_moments(
    uninterrupted: tuple[Machine, float], tmp_path: Path, moment: float, seed: int
) -> None:
    reference, seconds = uninterrupted
    check_resumes(machine_in(tmp_path / "machine"), reference, moment * seconds, seed)


def test_the_same_command_again_finds_everything_done(uninterrupted: tuple[Machine, float]) -> None:
    machine, _ = uninterrupted
    before = machine.manifests()
    output = machine.run()
    assert "running" not in output
    assert machine.manifests() == before
