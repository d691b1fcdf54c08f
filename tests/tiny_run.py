"""A whole run with random weights: data set, base, training, export, evaluation, in a minute or two."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from stillhouse.artifacts.store import Store
from stillhouse.controller.runs import find_run
from stillhouse.v1.artifact_pb2 import Manifest

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
    maxTokens: 16 # too few for any score: random weights tie with random weights, whatever they were trained on
    gates: {minScore: None, maxGap: None, maxMedianSeconds: None, minValidRate: None, minGuardRate: None}
  serve: {port: 0}
"""


@dataclass(frozen=True)
class Machine:
    """A laptop of its own: a store, a cache of runs, the shared downloads."""

    store: Path
    environment: dict[str, str]
    spec: Path

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "stillhouse.cli", "run", str(self.spec), "--store", str(self.store)]

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def run(self) -> str:
        done = subprocess.run(
            self.command, env=self.environment, capture_output=True, text=True, check=False, timeout=900
        )
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.stdout

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


@dataclass(frozen=True)
class FinishedRun:
    """The machine it ran on, how long it took, in seconds, and what it printed."""

    machine: Machine
    seconds: float
    output: str
