"""What a run shows while a teacher is asked, and what it says of it at the end: in 100 columns, in words."""

from __future__ import annotations

import io
from typing import Any

import pytest
from google.protobuf.message import Message
from rich.console import Console

from stillhouse.artifacts.store import Store
from stillhouse.cli.progress import LiveView, PlainView, describe, progress_lines
from stillhouse.cli.summary import EMULATED, print_evaluations
from stillhouse.controller.plan import Outcome, Plan, PlannedStep, StepState
from stillhouse.v1.artifact_pb2 import Manifest
from stillhouse.v1.common_pb2 import Progress
from stillhouse.v1.evaluator_pb2 import EvaluateResult, Evaluation
from stillhouse.v1.record_pb2 import ScoreStatistics
from stillhouse.v1.teacher_generator_pb2 import (
    GenerateRecordsRequest,
    GenerateRecordsResult,
    StageOutcome,
    TeacherStage,
)
from stillhouse.v1.teacher_pb2 import TeacherModel

GENERATE = PlannedStep("generate", "teacher_generator", "generate", StepState.RUNNING, "k" * 64)
FIGURES = {
    "attempted": 391.0,
    "acceptance_rate": 0.63,
    "repair_rate": 0.64,
    "score_mean": 0.9123,
    "score_last": 0.875,
    "dead_letters": 12.0,
    "calls": 700.0,
    "from_log": 120.0,
    "in_flight": 24.0,
    "throttled": 317.0,
    "tokens": 1_923_456.0,
    "cost_usd": 2.314,
}


def progress(**changes: Any) -> Progress:
    values: dict[str, Any] = {
        "stage": "generate",
        "message": "stage gemini-2.5-flash",
        "done": 245,
        "total": 400,
        "unit": "records",
        "eta_seconds": 1234,
        "figures": FIGURES,
    }
    return Progress(**{**values, **changes})


def test_a_generation_is_told_in_three_lines() -> None:
    assert progress_lines(progress()) == [
        "stage gemini-2.5-flash  score 0.912, last 0.875  20:34 left",
        "245/400 records of 391 asked  63% accepted  64% repaired",
        "24 in flight  317 × 429  120 from the log  1.9M tokens  $2.31",
    ]


def test_what_did_not_happen_is_not_told() -> None:
    quiet = dict.fromkeys(FIGURES, 0.0) | {"in_flight": 8.0}
    said = describe(GENERATE, progress(figures=quiet, done=0, total=0, eta_seconds=0))
    assert said == "stage gemini-2.5-flash  0 records  8 in flight  0 tokens  $0.00"


@pytest.mark.parametrize("width", [100, 80])
def test_the_live_table_fits_and_keeps_every_figure(width: int) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, color_system=None, legacy_windows=False)
    with LiveView(console) as view:
        view.show(Plan((GENERATE,), (), None), {"generate": progress()})
    last = file.getvalue().splitlines()
    assert max(len(line) for line in last) <= width + 10  # what moves the cursor takes no column
    for figure in ("245/400", "391", "63%", "64%", "0.912", "0.875", "317 × 429", "$2.31", "20:34"):
        assert figure in file.getvalue()


def test_without_a_terminal_a_generation_is_one_line() -> None:
    file = io.StringIO()
    with PlainView(Console(file=file, width=100)) as view:
        view.show(Plan((GENERATE,), (), None), {"generate": progress()})
    (line,) = file.getvalue().splitlines()
    assert "generate: running stage gemini-2.5-flash" in line
    assert line.endswith("$2.31")


def done(name: str, stage: str, result: Message, request: Message | None = None) -> PlannedStep:
    manifest = Manifest(stage=stage, key="k" * 64)
    manifest.result.Pack(result)
    return PlannedStep(name, "", stage, StepState.DONE, "k" * 64, request, manifest=manifest)


def generation(statistics: dict[str, Any], **values: Any) -> GenerateRecordsResult:
    result = GenerateRecordsResult(record_count=96, cost_usd=0.314, **values)
    result.statistics.update(statistics)
    return result


def summary(result: GenerateRecordsResult, *providers: str) -> list[str]:
    stages = [TeacherStage(teacher=TeacherModel(provider=provider)) for provider in providers]
    evaluated = EvaluateResult(evaluation=Evaluation(scores=ScoreStatistics(mean=0.9, count=9)), passed=True)
    steps = (
        done("generate", "generate", result, GenerateRecordsRequest(stages=stages)),
        PlannedStep("dataset", "", "dataset", StepState.READY),
        done("evaluate-teacher", "evaluate", evaluated),
        PlannedStep("train", "", "train", StepState.READY),
        done("evaluate", "evaluate", evaluated),
    )
    file = io.StringIO()
    store = Store.open("memory://run-views")
    print_evaluations(Console(file=file, width=100), Plan(steps, (), Outcome.SUCCEEDED), store)
    return file.getvalue().splitlines()


ASKED = {"all": {"calls": 141, "first_success_rate": 0.61, "repair_success_rate": 0.64}, "dead_letters": 3}


def test_the_summary_says_what_asking_came_to() -> None:
    lines = summary(generation(ASKED), "vertex")
    assert (
        "teacher   96 records of 141 calls, 61 % accepted at first, 64 % repaired, 3 concepts set aside, $0.31" in lines
    )
    assert EMULATED not in lines
    assert [line.split()[0] for line in lines if "0.900" in line] == ["teacher", "student"]


def test_the_summary_says_that_an_emulated_teacher_was_one() -> None:
    assert EMULATED in summary(generation(ASKED), "vertex", "emulator")


def test_a_teacher_that_was_never_asked_has_no_rates() -> None:
    assert "teacher   96 records, all of them imported" in summary(generation({"all": {"calls": 0}}))


def test_a_stage_that_ran_out_of_concepts_is_named() -> None:
    stages = [StageOutcome(name="flash", accepted=96, attempted=200, ended="concepts exhausted")]
    lines = summary(generation(ASKED, stages=stages), "vertex")
    assert "          stage flash ended at 96 records: concepts exhausted" in lines
