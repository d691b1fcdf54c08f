"""plan() with a teacher: what waits for it, what the student is compared with, and which changes ask it again."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from planned_world import World, blob, spec_of, started
from stillhouse.controller import requests
from stillhouse.controller.plan import Outcome, StepState
from stillhouse.controller.requests import Inputs
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest, BuildDatasetResult
from stillhouse.v1.evaluator_pb2 import EvaluateRequest
from stillhouse.v1.exporter_pb2 import ExportRequest
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest, GenerateRecordsResult

INPUTS = Inputs(imports=(), concepts=Artifact(name="concepts.jsonl", sha256="c" * 64), stage_imports=(None,))
STAGE: dict[str, Any] = {
    "provider": "vertex",
    "model": "gemini-2.5-flash",
    "project": "mine",
    "records": 50,
    "minScore": "0.82",
}
STEPS = [
    *("generate", "dataset", "base", "evaluate-teacher", "train", "export", "export-base", "evaluate-base", "evaluate"),
]


def taught(stage: dict[str, Any] | None = None, *, teacher: bool = True, **changes: Any) -> dict[str, Any]:
    """Changes for spec_of: a data set of a teacher's; `dataset` in changes is merged into it."""
    merged = copy.deepcopy(changes)
    dataset = {
        "concepts": {"uri": "concepts.jsonl"},
        "teacher": {"stages": [{**STAGE, **(stage or {})}]},
        **merged.pop("dataset", {}),
    }
    return {"dataset": dataset, "evaluation": {"teacher": teacher}, **merged}


def world(**changes: Any) -> World:
    return World(spec_of(**(changes or taught())), INPUTS)


def finished(**changes: Any) -> World:
    made = world(**changes)
    for name in [step.name for step in made.plan().steps]:
        made.finish(name)
    return made


def to_do(made: World) -> list[str]:
    return [step.name for step in made.plan().steps if step.state is not StepState.DONE]


def test_everything_waits_for_the_teacher_but_the_base() -> None:
    made = world()
    assert [step.name for step in made.plan().steps] == STEPS
    assert started(made.plan(capacity=9)) == ["generate", "base"]
    assert made.plan().step("dataset").message == "generate"
    assert made.plan().step("evaluate-teacher").message == "dataset"


def test_the_teacher_is_evaluated_before_any_training_and_the_student_waits_for_it() -> None:
    made = world()
    for name in STEPS:
        assert started(made.plan()) == [name]
        made.finish(name)
    assert made.plan().outcome is Outcome.SUCCEEDED
    unevaluated = world()
    for name in STEPS:
        if name not in ("evaluate-teacher", "evaluate"):
            unevaluated.finish(name)
    assert unevaluated.plan().step("evaluate").message == "evaluate-teacher"


def test_the_student_is_compared_with_the_teacher_on_the_same_rows() -> None:
    request = finished().plan().step("evaluate").request
    assert isinstance(request, EvaluateRequest)
    assert (request.reference_score, request.reference_source) == (0.95, "validation")


def test_without_its_evaluation_the_reference_is_the_mean_of_its_records() -> None:
    made = finished(**taught(teacher=False))
    assert "evaluate-teacher" not in [step.name for step in made.plan().steps]
    request = made.plan().step("evaluate").request
    assert isinstance(request, EvaluateRequest)
    assert (request.reference_score, request.reference_source) == (0.9, "dataset")


def test_no_student_is_served_while_the_teacher_is_evaluated() -> None:
    step = finished().plan().step("evaluate-teacher")
    assert step.serves is None
    assert isinstance(step.request, EvaluateRequest)
    assert step.request.teacher.model == "gemini-2.5-flash"
    assert not step.request.HasField("model")


def test_the_data_set_reads_the_teachers_records_first() -> None:
    changes = taught(dataset={"imports": [{"uri": "mine.jsonl"}]})
    made = World(
        spec_of(**changes), Inputs(imports=(blob("d"),), concepts=INPUTS.concepts, stage_imports=INPUTS.stage_imports)
    )
    made.finish("generate")
    request = made.plan().step("dataset").request
    assert isinstance(request, BuildDatasetRequest)
    assert [source.rows.sha256[0] for source in request.imports] == ["a", "d"]


@pytest.mark.parametrize(
    "changes",
    [
        taught(budget={"maxCostUsd": "3"}),
        taught({"endpoint": "https://elsewhere"}),
        taught({"project": "another"}),
        taught({"location": "global"}),
        taught({"concurrency": 3}),
        taught({"requestsPerMinute": 60}),
        taught({"tokensPerMinute": 60_000}),
        taught({"deadlineSeconds": 20}),
        taught({"provider": "vertex_sdk"}),
    ],
    ids=str,
)
def test_what_concerns_only_how_a_teacher_is_reached_and_paid_asks_nothing_again(changes: dict[str, Any]) -> None:
    made = finished()
    made.spec = spec_of(**changes)
    assert to_do(made) == []


def test_another_price_asks_nothing_again() -> None:
    made = finished()
    price = {"model": "gemini-2.5-flash", "inputPerMillionUsd": "9", "outputPerMillionUsd": "9"}
    made.spec = spec_of(**taught(dataset={"teacher": {"stages": [STAGE], "prices": [price]}}))
    assert to_do(made) == []


@pytest.mark.parametrize(
    "changes",
    [
        taught({"records": 60}),
        taught({"minScore": "0.85"}),
        taught({"prompt": "Structured"}),
        taught({"model": "gemini-2.5-pro"}),
        taught({"temperature": "0.5"}),
        taught({"thinkingBudget": 0}),
        taught({"attempts": 3}),
        taught(dataset={"concepts": {"uri": "concepts.jsonl", "whenExhausted": "SecondAnswer"}}),
        taught(dataset={"teacher": {"stages": [STAGE], "seed": 7}}),
        taught(dataset={"guards": []}),
        taught(dataset={"balance": [{"label": "tier", "value": "simple", "maxRecords": 3}]}),
    ],
    ids=str,
)
def test_what_decides_which_records_there_are_makes_another_generation(changes: dict[str, Any]) -> None:
    made = finished()
    made.spec = spec_of(**changes)
    assert to_do(made)[0] == "generate"


def test_other_concepts_and_other_held_out_rows_make_another_generation() -> None:
    made = finished()
    made.inputs = Inputs(concepts=blob("d"), stage_imports=(None,))
    assert to_do(made)[0] == "generate"
    made.inputs = Inputs(concepts=INPUTS.concepts, stage_imports=(None,), validation=blob("e"))
    assert to_do(made)[0] == "generate"


def test_a_changed_gate_evaluates_the_student_alone_and_asks_no_teacher() -> None:
    made = finished()
    changes = taught()
    changes["evaluation"]["gates"] = {"maxGap": "0.2"}
    made.spec = spec_of(**changes)
    assert to_do(made) == ["evaluate"]


def test_evaluating_the_teacher_gets_what_the_generation_left_of_the_budget() -> None:
    spec = spec_of(**taught(budget={"maxCostUsd": "1"}))
    dataset = BuildDatasetResult(validation=blob("4"))
    left = requests.evaluate_teacher(spec, dataset, GenerateRecordsResult(cost_usd=0.4))
    assert left.max_cost_usd == pytest.approx(0.6)
    overdrawn = requests.evaluate_teacher(spec, dataset, GenerateRecordsResult(cost_usd=1.2))
    assert overdrawn.HasField("max_cost_usd")
    assert overdrawn.max_cost_usd == 0
    unlimited = requests.evaluate_teacher(spec_of(**taught()), dataset, None)
    assert not unlimited.HasField("max_cost_usd")


def test_stages_arrive_in_their_order_with_names_targets_and_sources() -> None:
    stages = [
        {"import": {"uri": "rows.jsonl", "model": "gemini-2.5-pro"}, "minScore": "0.85"},
        {**STAGE, "name": "pro", "model": "gemini-2.5-pro", "records": 45},
        {"until": 300},
    ]
    inputs = Inputs(concepts=INPUTS.concepts, stage_imports=(blob("d"), None, None))
    made = World(spec_of(**taught(teacher=False, dataset={"teacher": {"stages": stages}})), inputs)
    request = made.plan().step("generate").request
    assert isinstance(request, GenerateRecordsRequest)
    assert [stage.name for stage in request.stages] == ["import", "pro", "gemini-2.5-flash"]
    assert [stage.WhichOneof("source") for stage in request.stages] == ["import", "teacher", "teacher"]
    assert [(stage.records, stage.until) for stage in request.stages] == [(0, 0), (45, 0), (0, 300)]
    assert getattr(request.stages[0], "import").rows == blob("d")


def test_a_model_card_says_that_an_emulated_teacher_was_one() -> None:
    stage = {"provider": "emulator", "project": None}
    request = finished(**taught(stage)).plan().step("export").request
    assert isinstance(request, ExportRequest)
    assert request.data_source == "an emulated gemini-2.5-flash"
