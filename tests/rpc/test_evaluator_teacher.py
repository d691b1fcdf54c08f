"""The evaluator asking a teacher: a real server of Vertex AI's protos on localhost, as a Job and as a command."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli_leaves import run_leaf
from evaluator_jobs import finish, result_of, start_job, status_message
from stillhouse.artifacts.store import Store
from stillhouse.dataset.concepts import concept_line
from stillhouse.roles.role import load_role
from stillhouse.teachers.seeds import EVALUATION_SEEDS
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.evaluator_pb2 import (
    CONSTRAINT_KIND_NONE,
    CONSTRAINT_KIND_ROLE_GRAMMAR,
    EvaluateRequest,
)
from stillhouse.v1.teacher_pb2 import TEACHER_PROMPT_FENCED, EmulatorOptions, TeacherModel
from vertex_emulator_process import EmulatorProcess, vertex_emulator

COUNT = 6
ROWS = "".join(map(concept_line, load_role("product_owner").examples(count=COUNT, seed=5, planted=0.5)))
IDENTITY = "emulator:gemini-2.5-flash?faults=recorded&seed=0"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with vertex_emulator(tmp_path_factory.mktemp("emulator"), "--faults", "recorded", "--latency", "50ms") as process:
        yield process


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def teacher(emulator: EmulatorProcess, **changes: Any) -> TeacherModel:
    values = {
        "provider": "emulator",
        "model": "gemini-2.5-flash",
        "prompt": TEACHER_PROMPT_FENCED,
        "temperature": 0.7,
        "max_output_tokens": 8192,
        "endpoint": emulator.url,
        "emulator": EmulatorOptions(faults="recorded"),
    }
    return TeacherModel(**{**values, **changes})


def request_for(store: Store, asked: TeacherModel, **fields: Any) -> EvaluateRequest:
    role = load_role("product_owner")
    values = {
        "role": RoleReference(name=role.name, version=role.version),
        "teacher": asked,
        "validation": store.put_bytes(ROWS.encode(), name="validation.jsonl"),
        "constraint": CONSTRAINT_KIND_NONE,
        "seed": 42,
        "store_uri": store.uri,
    }
    return EvaluateRequest(**{**values, **fields})


def document_of(store: Store, request: EvaluateRequest) -> dict[str, Any]:
    return dict(json.loads(store.read_bytes(result_of(store, request).summary)))


def test_a_teachers_own_score_says_whose_it_is_what_it_cost_and_what_it_found(
    store: Store, tmp_path: Path, emulator: EmulatorProcess
) -> None:
    request = request_for(store, teacher(emulator))
    assert finish(start_job(request, tmp_path)) == 0
    document = document_of(store, request)
    assert document["teacher"] == IDENTITY
    assert document["cost_usd"] == result_of(store, request).cost_usd > 0
    assert document["model_sha256"] == ""
    assert document["sampling"] == {"max_tokens": 8192, "temperature": 0.7, "seed": 42}
    assert document["scores"]["count"] == COUNT
    assert document["scores"]["mean"] > 0.5
    assert set(document["findings"]) >= {"gaps", "conflicts"}


def test_a_budget_of_zero_stops_before_the_first_call_and_not_where_answers_are_kept(
    store: Store, tmp_path: Path, emulator: EmulatorProcess
) -> None:
    before = len(emulator.billed())
    broke = request_for(store, teacher(emulator), max_cost_usd=0.0)
    assert finish(start_job(broke, tmp_path)) == 65
    assert "raise budget.maxCostUsd" in status_message(tmp_path)
    assert len(emulator.billed()) == before
    assert finish(start_job(request_for(store, teacher(emulator)), tmp_path)) == 0
    paid = len(emulator.billed())
    compared = {"reference_score": 0.9, "reference_source": "dataset"}
    again = request_for(store, teacher(emulator), max_cost_usd=0.0, **compared)
    assert finish(start_job(again, tmp_path)) == 0
    assert document_of(store, again)["reference"] == {"score": 0.9, "source": "dataset"}
    assert len(emulator.billed()) == paid


def test_a_killed_evaluation_of_a_teacher_pays_for_nothing_twice_but_what_was_under_way(
    store: Store, tmp_path: Path
) -> None:
    with vertex_emulator(tmp_path, "--faults", "recorded", "--latency", "300ms") as slow:
        request = request_for(store, teacher(slow))
        killed = start_job(request, tmp_path)
        deadline = time.monotonic() + 60
        while not slow.bill_log.exists() or len(slow.billed()) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert finish(start_job(request, tmp_path)) == 0
        paid = Counter(call["digest"] for call in slow.billed())
    assert sum(times - 1 for times in paid.values()) <= 1
    assert len(paid) == len(list(Path(store.uri.removeprefix("file://")).glob("answers/**/*.json")))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"constraint": CONSTRAINT_KIND_ROLE_GRAMMAR}, "not held to the role's grammar"),
        ({"model": Artifact(sha256="a" * 64)}, "a teacher and a model"),
        ({"teacher": TeacherModel(provider="emulator", model="m")}, "max_tokens 0 is not within"),
        ({"teacher": TeacherModel(provider="emulator", model="m", max_output_tokens=99)}, "prompt is fenced"),
        (
            {"teacher": TeacherModel(provider="vertx", model="m", max_output_tokens=99, prompt=TEACHER_PROMPT_FENCED)},
            "unknown teacher provider 'vertx'",
        ),
    ],
)
def test_a_bad_request_for_a_teacher_is_permanent_and_says_what_is_wrong(
    store: Store, tmp_path: Path, emulator: EmulatorProcess, fields: dict[str, Any], words: str
) -> None:
    request = request_for(store, fields.pop("teacher", teacher(emulator)), **fields)
    assert finish(start_job(request, tmp_path)) == 65
    assert words in status_message(tmp_path)


def arguments(tmp_path: Path, *more: object) -> list[object]:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(ROWS)
    return ["--validation", rows, "--output", tmp_path / "eval.json", "--store", tmp_path / "store", *more]


def test_the_command_line_measures_a_teacher_and_pays_once(
    tmp_path: Path, emulator: EmulatorProcess, capsys: Capture
) -> None:
    asked = ("--provider", "emulator", "--model", "gemini-2.5-flash", "--endpoint", emulator.url)
    outcome = run_leaf(capsys, "evaluate", "--role", "product_owner", *arguments(tmp_path, *asked))
    assert outcome.code == 0, outcome.err
    document = json.loads((tmp_path / "eval.json").read_text())
    assert document["teacher"] == IDENTITY
    assert document["constraint"] == "none"
    assert document["sampling"]["seed"] == 42 + EVALUATION_SEEDS, "no answer by which a record was selected"
    assert f"{IDENTITY}: $" in outcome.out
    paid = len(emulator.billed())
    again = run_leaf(capsys, "evaluate", *arguments(tmp_path, *asked, "--max-cost-usd", "0"))
    assert again.code == 0, again.err
    assert len(emulator.billed()) == paid


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "name a student, or a teacher by its --provider"),
        (("--student", "h:1", "--provider", "vertex"), "name a student, or a teacher by its --provider"),
        (("--provider", "vertx"), "'vertx' is none of vertex"),
        (("--provider", "vertex", "--grammar", "role"), "not held to the role's grammar"),
        (("--provider", "vertex", "--prompt", "short"), "'short' is none of fenced"),
    ],
)
def test_whom_to_measure_is_said_once_and_rightly(
    tmp_path: Path, capsys: Capture, options: tuple[str, ...], words: str
) -> None:
    outcome = run_leaf(capsys, "evaluate", *arguments(tmp_path, *options))
    assert outcome.code == 2
    assert words in outcome.err
