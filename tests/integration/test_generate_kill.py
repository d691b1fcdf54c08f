"""kill -9 of a generation at random moments: nothing is paid twice, nothing is lost, and the bytes are the same."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_leaves import end_leaf, start_leaf
from generation_fixture import logged_answers, write_concepts
from job_process import start_job
from stillhouse.artifacts.digests import request_key
from stillhouse.artifacts.store import Store
from stillhouse.roles.role import load_role
from stillhouse.stages import GENERATE
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest, GenerateRecordsResult, TeacherStage
from stillhouse.v1.teacher_pb2 import TEACHER_PROMPT_FENCED, TeacherModel
from vertex_emulator_process import EmulatorProcess, vertex_emulator

pytestmark = pytest.mark.timeout(1800)

CONCEPTS = 120
CONCURRENCY = 8
START_SECONDS = 60
JOB = "stillhouse.teacher_generator"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with vertex_emulator(tmp_path_factory.mktemp("emulator"), "--faults", "recorded", "--latency", "50ms") as server:
        yield server


def start(emulator: EmulatorProcess, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """All concepts are asked about, so that which questions there are does not depend on pace."""
    places = ["--concepts", folder / "concepts.jsonl", "--output", folder / "data.jsonl", "--store", folder / "store"]
    teacher = ["--provider", "vertex", "--endpoint", emulator.url, "--concurrency", CONCURRENCY]
    return start_leaf("generate", *teacher, *places, "--max-records", 1000, *arguments)


def kill_at(process: subprocess.Popen, emulator: EmulatorProcess, seconds: float) -> None:
    """SIGKILL that long after the first call of the process, unless it has ended by then."""
    before, waited = len(emulator.billed()), time.monotonic()
    while len(emulator.billed()) == before and process.poll() is None and time.monotonic() - waited < START_SECONDS:
        time.sleep(0.01)
    time.sleep(seconds)
    process.kill()
    process.communicate(timeout=60)


def check_bill(bill: list[dict], store: Path, *, kills: int) -> None:
    billed = Counter(line["digest"] for line in bill)
    logged = len(logged_answers(store))
    assert len(billed) == logged
    assert len(bill) - logged <= CONCURRENCY * kills
    # Only what was in flight when the client died was paid again; a kill may hit the same question twice.
    assert sum(count - 1 for count in billed.values()) == len(bill) - logged


def check_killed_generation(emulator: EmulatorProcess, folder: Path, *, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    undisturbed, disturbed = folder / "undisturbed", folder / "disturbed"
    for each in (undisturbed, disturbed):
        each.mkdir()
        write_concepts(each / "concepts.jsonl", CONCEPTS)
    outcome = end_leaf(start(emulator, undisturbed))
    assert outcome.code == 0, outcome.err
    before = len(emulator.billed())
    for _ in range(kills):
        kill_at(start(emulator, disturbed, "--resume"), emulator, dice.uniform(0, 2.0 / kills))
    outcome = end_leaf(start(emulator, disturbed, "--resume"))
    assert outcome.code == 0, outcome.err
    assert (disturbed / "data.jsonl").read_bytes() == (undisturbed / "data.jsonl").read_bytes()
    letters = [json.loads(line) for line in (disturbed / "data.dead-letters.jsonl").read_text().splitlines()]
    assert letters == [json.loads(line) for line in (undisturbed / "data.dead-letters.jsonl").read_text().splitlines()]
    check_bill(emulator.billed()[before:], disturbed / "store", kills=kills)


def test_a_generation_that_is_killed_a_few_times_pays_nothing_twice_and_loses_nothing(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    check_killed_generation(emulator, tmp_path, kills=3, seed=1)


@pytest.mark.soak
def test_a_generation_that_is_killed_twenty_times_pays_nothing_twice_and_loses_nothing(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    check_killed_generation(emulator, tmp_path, kills=20, seed=2)


def job_request(emulator: EmulatorProcess, store: Store, folder: Path) -> GenerateRecordsRequest:
    concepts = store.put_bytes(write_concepts(folder / "concepts.jsonl", CONCEPTS).read_bytes(), name="concepts.jsonl")
    teacher = TeacherModel(
        provider="vertex",
        model="gemini-2.5-flash",
        prompt=TEACHER_PROMPT_FENCED,
        temperature=0.7,
        max_output_tokens=8192,
        endpoint=emulator.url,
        concurrency=CONCURRENCY,
    )
    role = load_role("product_owner")
    return GenerateRecordsRequest(
        role=RoleReference(name=role.name, version=role.version),
        concepts=concepts,
        stages=[TeacherStage(name="flash", teacher=teacher, min_score=0.8, until=1000, attempts=2)],
        guards=role.guard_names,
        seed=42,
        store_uri=store.uri,
    )


def records_of(store: Store, request: GenerateRecordsRequest) -> str:
    manifest = store.read_manifest(GENERATE.name, request_key(GENERATE.name, GENERATE.logic_version, request))
    assert manifest is not None
    result = GenerateRecordsResult()
    assert manifest.result.Unpack(result)
    assert result.record_count > 0
    return result.records.sha256


def test_a_job_that_is_killed_pays_nothing_twice_and_makes_the_same_records(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    undisturbed, disturbed = (Store.open(str(tmp_path / name)) for name in ("undisturbed", "disturbed"))
    wanted = job_request(emulator, undisturbed, tmp_path)
    assert start_job(JOB, wanted, tmp_path).wait(120) == 0
    request = job_request(emulator, disturbed, tmp_path)
    before = len(emulator.billed())
    kill_at(start_job(JOB, request, tmp_path), emulator, 0.5)
    assert len(emulator.billed()) > before
    assert start_job(JOB, request, tmp_path).wait(120) == 0
    assert records_of(disturbed, request) == records_of(undisturbed, wanted)
    check_bill(emulator.billed()[before:], tmp_path / "disturbed", kills=1)
