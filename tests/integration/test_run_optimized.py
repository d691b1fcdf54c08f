"""`stillhouse run` with an optimization: the program is made, kept, and used by the evaluation of the gates."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from stillhouse.artifacts.store import Store
from stillhouse.controller.runs import find_run
from stillhouse.programs.document import read_program
from stillhouse.spec.scalars import dump_yaml, load_yaml
from stillhouse.v1.artifact_pb2 import Manifest
from stillhouse.v1.evaluator_pb2 import EvaluateRequest
from stillhouse.v1.optimizer_pb2 import OptimizeResult
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest
from tiny_run import SPEC, FinishedRun, Machine, machine_in

pytestmark = pytest.mark.timeout(1200)

NAME = "tiny-optimized"
OPTIMIZATION: dict[str, Any] = {
    "numCandidates": 3,
    "numTrials": 2,
    "maxBootstrappedDemos": 1,
    "maxLabeledDemos": 1,
    "minBaselineValid": "0",  # random weights: the grammar alone makes an answer readable, if it ends in time
}


@dataclass(frozen=True)
class Optimized:
    """A run of its own over what the finished run has made: only the optimization and evaluations are left to do."""

    machine: Machine
    output: str

    def manifests(self) -> dict[str, Manifest]:
        store = Store.open(str(self.machine.store))
        run = find_run(store, NAME)
        found = {step["name"]: store.read_manifest(step["stage"], step["key"]) for step in run.steps}
        return {name: manifest for name, manifest in found.items() if manifest is not None}

    def evaluation(self, step: str) -> EvaluateRequest:
        request = EvaluateRequest()
        assert self.manifests()[step].request.Unpack(request)
        return request


@pytest.fixture(scope="module")
def optimized(finished: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Optimized:
    document = load_yaml(SPEC)
    document["metadata"]["name"] = NAME
    document["spec"]["optimization"] = OPTIMIZATION
    file = tmp_path_factory.mktemp("optimized") / "optimized.yaml"
    file.write_text(dump_yaml(document))
    machine = replace(finished.machine, spec=file)
    return Optimized(machine, machine.run())


def test_only_what_the_prompt_changes_is_done_again(optimized: Optimized) -> None:
    started = re.findall(r"^[0-9:]+ (.+): running$", optimized.output, re.MULTILINE)
    assert started == ["optimize", "evaluate", "evaluate-unoptimized"]


def test_the_program_is_in_the_store_and_the_gates_evaluation_names_it(optimized: Optimized) -> None:
    store = Store.open(str(optimized.machine.store))
    result = OptimizeResult()
    assert optimized.manifests()["optimize"].result.Unpack(result)
    program = read_program(store.read_bytes(result.program), source="program.json")
    assert program.role == "product_owner"
    gated, plain = optimized.evaluation("evaluate"), optimized.evaluation("evaluate-unoptimized")
    assert gated.program.sha256 == result.program.sha256
    assert not plain.HasField("program")
    metadata = json.loads(store.read_bytes(result.metadata))
    assert metadata["valset"]["path"] == "the data set's tuning rows"
    assert metadata["seed"] == 0


def test_the_summary_tells_what_the_prompt_brought(optimized: Optimized) -> None:
    (line,) = [line for line in optimized.output.splitlines() if line.startswith("prompt    ")]
    assert "candidates (MIPROv2)" in line
    assert "student, own prompt" in optimized.output
    result = OptimizeResult()
    assert optimized.manifests()["optimize"].result.Unpack(result)
    assert f"program   sha256:{result.program.sha256}" in optimized.output
    assert f"stillhouse program show {NAME}" in optimized.output


def test_the_same_command_again_asks_nothing(optimized: Optimized) -> None:
    before = optimized.manifests()
    output = optimized.machine.run()
    assert ": running" not in output
    assert optimized.manifests() == before


def test_the_report_shows_the_prompt(optimized: Optimized, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    command = [sys.executable, "-m", "stillhouse.cli", "report", NAME, "--output", str(page)]
    said = subprocess.run(
        [*command, "--store", str(optimized.machine.store)],
        env=optimized.machine.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert said.returncode == 0, said.stderr
    assert "A better prompt" in page.read_text()


def rows(seed: int) -> dict[str, Any]:
    return {"synthesized": {"count": 4, "seed": seed}}


TAUGHT: dict[str, Any] = {
    "role": "product_owner",
    "budget": {"maxCostUsd": "1"},
    "dataset": {
        "concepts": {"synthesized": {"count": 40, "seed": 3}},
        "teacher": {
            "stages": [
                {
                    "provider": "emulator",
                    "records": 8,
                    "emulator": {"latencySeconds": "0"},
                }
            ]
        },
        "minRecords": 4,
        "minMeanScore": "1",  # nothing is good enough: it ends once the teacher was asked
    },
    "optimization": {**OPTIMIZATION, "target": "Teacher", "train": rows(901), "validation": rows(902)},
}


@pytest.mark.parametrize(
    ("faults", "seed", "is_better"),
    [("recorded", 1, True), ("none", 0, False)],  # without faults there is nothing to be better at
)
def test_a_teacher_is_asked_with_the_prompt_that_was_found_where_that_is_better(
    tmp_path: Path, faults: str, seed: int, is_better: bool
) -> None:
    machine = machine_in(tmp_path / "machine")
    spec = copy.deepcopy(TAUGHT)
    spec["dataset"]["teacher"]["stages"][0]["emulator"] |= {"faults": faults, "seed": seed}
    machine.spec.write_text(dump_yaml({**load_yaml(SPEC), "spec": spec}))
    said = subprocess.run(
        machine.command, env=machine.environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert said.returncode == 65, said.stdout + said.stderr
    assert "min_mean_score" in said.stderr
    result, request = OptimizeResult(), GenerateRecordsRequest()
    assert machine.manifests()["optimize"].result.Unpack(result)
    assert machine.manifests()["generate"].request.Unpack(request)
    assert result.cost_usd > 0
    assert (result.score > result.baseline_score) is is_better
    used = result.program.sha256 if is_better else ""
    assert [stage.teacher.program.sha256 for stage in request.stages] == [used]
