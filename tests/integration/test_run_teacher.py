"""`stillhouse run` from concepts and an emulated teacher to an evaluated student, with random weights; and kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from stillhouse.artifacts.store import Store
from stillhouse.spec.scalars import dump_yaml
from stillhouse.v1.evaluator_pb2 import EvaluateRequest, EvaluateResult
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsResult
from tiny_run import Machine, machine_in
from vertex_emulator_process import EmulatorProcess, vertex_emulator

pytestmark = pytest.mark.timeout(1200)

RECORDS = 20
STAGE: dict[str, Any] = {
    "provider": "emulator",
    "model": "gemini-2.5-flash",
    "records": RECORDS,
    "emulator": {"faults": "recorded", "latencySeconds": "0.05"},
}
NO_GATES = dict.fromkeys(["minScore", "maxMedianSeconds", "minValidRate", "minGuardRate"], "None")


def document(*, stage: dict[str, Any] = STAGE, **dataset: Any) -> dict[str, Any]:
    return {
        "apiVersion": "stillhouse.dev/v1alpha1",
        "kind": "Distillation",
        "metadata": {"name": "tiny"},
        "spec": {
            "role": "product_owner",
            "budget": {"maxCostUsd": "1"},
            "dataset": {
                "concepts": {"synthesized": {"count": 60, "seed": 3, "planted": "0.5"}},
                "teacher": {"stages": [stage]},
                "minRecords": 4,
                **dataset,
            },
            "student": {
                "base": "builtin:tiny",
                "training": {"epochs": 1, "learningRate": "1e-3", "microBatchSize": 1},
            },
            "evaluation": {"maxTokens": 48, "teacher": True, "gates": {**NO_GATES, "maxGap": "1"}},
            "serve": {"port": 0},
        },
    }


def machine(directory: Path, spec: dict[str, Any], **environment: str) -> Machine:
    made = machine_in(directory)
    made.spec.write_text(dump_yaml(spec))
    return replace(made, environment={**made.environment, **environment})


def command(machine: Machine, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stillhouse.cli", *arguments, "--store", str(machine.store)],
        env={**machine.environment, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@dataclass(frozen=True)
class Taught:
    machine: Machine
    dry: str
    output: str


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Taught:
    made = machine(tmp_path_factory.mktemp("taught") / "machine", document())
    dry = command(made, "run", str(made.spec), "--dry-run")
    assert dry.returncode == 0, dry.stderr
    return Taught(made, dry.stdout, made.run())


def generated(machine: Machine) -> GenerateRecordsResult:
    result = GenerateRecordsResult()
    assert machine.manifests()["generate"].result.Unpack(result)
    return result


def test_a_dry_run_says_what_the_teacher_may_cost_and_asks_nothing(taught: Taught) -> None:
    assert "gemini-2.5-flash" in taught.dry
    assert "20 to 50" in taught.dry
    assert "no call starts that could pass $1.00" in taught.dry
    assert max(map(len, taught.dry.splitlines())) <= 100


def test_the_summary_says_what_asking_came_to_and_that_it_was_the_emulator(taught: Taught) -> None:
    (line,) = [line for line in taught.output.splitlines() if line.startswith("teacher   ") and "records of" in line]
    assert f"{RECORDS} records of" in line
    assert "% accepted at first" in line
    assert "$0." in line
    assert "the teacher was the emulator that ships with stillhouse; its scores say nothing of Gemini" in taught.output


def test_the_teacher_stands_first_among_the_evaluations(taught: Taught) -> None:
    table = taught.output[taught.output.index("tokens/s") :].splitlines()[1:4]
    assert [line.split("  ")[0].strip() for line in table] == ["teacher", "base model", "student"]


def test_a_finished_run_names_its_report_and_its_chat(taught: Taught) -> None:
    assert f"stillhouse chat tiny --store {taught.machine.store}" in taught.output
    assert f"stillhouse report tiny --store {taught.machine.store}" in taught.output


def test_every_record_is_of_the_teacher_and_the_data_set_reads_them_all(taught: Taught) -> None:
    store = Store.open(str(taught.machine.store))
    rows = [json.loads(line) for line in store.open_lines(generated(taught.machine).records)]
    assert len(rows) == RECORDS
    assert {row["model"] for row in rows} == {"emulated gemini-2.5-flash"}
    assert min(row["score"] for row in rows) >= 0.8
    assert f"{RECORDS} rows read" in taught.output


def test_the_gap_is_measured_against_the_teacher_on_the_same_rows(taught: Taught) -> None:
    manifests = taught.machine.manifests()
    teacher, student = EvaluateResult(), EvaluateRequest()
    assert manifests["evaluate-teacher"].result.Unpack(teacher)
    assert manifests["evaluate"].request.Unpack(student)
    assert student.reference_source == "validation"
    assert student.reference_score == teacher.evaluation.scores.mean
    summary = json.loads(Store.open(str(taught.machine.store)).read_bytes(teacher.summary))
    assert summary["teacher"] == "emulator:gemini-2.5-flash?faults=recorded&seed=0"
    assert summary["cost_usd"] > 0


def test_the_same_command_again_asks_nothing_and_does_nothing(taught: Taught) -> None:
    before, answers = taught.machine.manifests(), sorted(taught.machine.store.glob("answers/**/*.json"))
    output = taught.machine.run()
    assert ": running" not in output
    assert taught.machine.manifests() == before
    assert sorted(taught.machine.store.glob("answers/**/*.json")) == answers


def test_the_report_of_the_run_can_be_made(taught: Taught, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    said = command(taught.machine, "report", "tiny", "--output", str(page))
    assert said.returncode == 0, said.stderr
    assert "gemini-2.5-flash" in page.read_text()


def ends_behind_generate(emulator: EmulatorProcess) -> dict[str, Any]:
    """A data set that nothing is good enough for: the run fails once the teacher has been asked."""
    stage = {**STAGE, "endpoint": emulator.url, "concurrency": 3}
    return document(stage=stage, minMeanScore="1")


def records_of(machine: Machine) -> bytes:
    return Store.open(str(machine.store)).read_bytes(generated(machine).records)


def run_to_its_end(machine: Machine) -> None:
    said = command(machine, "run", str(machine.spec))
    assert said.returncode == 65, said.stdout + said.stderr
    assert "min_mean_score" in said.stderr


def test_a_runner_killed_while_the_teacher_is_asked_resumes_and_pays_for_nothing_twice(tmp_path: Path) -> None:
    latency = ("--faults", "recorded", "--latency", "300ms")
    with vertex_emulator(tmp_path, *latency) as emulator:
        killed = machine(tmp_path / "killed", ends_behind_generate(emulator))
        for _ in range(2):
            already = len(emulator.billed()) if emulator.bill_log.exists() else 0
            process = killed.start()
            wait_for_calls(emulator, already + 6)
            os.kill(process.pid, signal.SIGKILL)
            process.wait(30)
        run_to_its_end(killed)
        paid = Counter(call["digest"] for call in emulator.billed())
        # A stage whose runner is gone ends on its own and keeps what is under way.
        assert not [digest for digest, times in paid.items() if times > 1]
        assert len(paid) == len(list(killed.store.glob("answers/**/*.json")))
        undisturbed = machine(tmp_path / "undisturbed", ends_behind_generate(emulator))
        run_to_its_end(undisturbed)
    assert records_of(killed) == records_of(undisturbed)


def wait_for_calls(emulator: EmulatorProcess, count: int) -> None:
    deadline = time.monotonic() + 120
    while not emulator.bill_log.exists() or len(emulator.billed()) < count:
        assert time.monotonic() < deadline, "the teacher is not asked"
        time.sleep(0.05)
