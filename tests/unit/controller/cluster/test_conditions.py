"""The condition of an optimization, and what else a status says of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from planned_world import World, spec_of
from stillhouse.controller.cluster.status import status_of
from stillhouse.controller.cluster.view import View
from stillhouse.controller.plan import Observation
from stillhouse.controller.requests import Inputs
from stillhouse.spec.status import DistillationStatus
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.optimizer_pb2 import OptimizeResult

Json = dict[str, Any]
NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
INPUTS = Inputs(concepts=Artifact(name="concepts.jsonl", sha256="c" * 64), stage_imports=(None,))
TEACHER_INPUTS = replace(
    INPUTS, optimization_train=Artifact(sha256="d" * 64), optimization_validation=Artifact(sha256="e" * 64)
)
TAUGHT = {"concepts": {"uri": "c.jsonl"}, "teacher": {"stages": [{}]}}


def until(name: str, **changes: Any) -> World:
    """Everything before that step is done."""
    world = World(spec_of(**{"optimization": {}, **changes}))
    for step in [step.name for step in world.plan().steps]:
        if step == name:
            break
        world.finish(step)
    return world


def status(world: World) -> Json:
    view = View(plan=world.plan(now=1e9), generation=1, store_uri="s3://s", suspended=False)
    made = status_of(view, {}, now=NOW)
    assert DistillationStatus.model_validate(made).model_dump(by_alias=True, exclude_none=True) == made
    return made


def optimized(world: World) -> tuple[str, str, str]:
    (found,) = [entry for entry in status(world)["conditions"] if entry["type"] == "Optimized"]
    return found["status"], found["reason"], found["message"]


def test_without_an_optimization_none_is_asked_for() -> None:
    world = until("evaluate", optimization=None)
    assert optimized(world) == ("False", "NotRequested", "no optimization is asked for")
    assert "program" not in status(world)["artifacts"]


def test_it_waits_for_the_export_and_is_told_when_it_is_done() -> None:
    assert optimized(until("train")) == ("False", "Waiting", "after export")
    assert optimized(until("evaluate")) == (
        "True",
        "Done",
        "0.700 with the role's own prompt, 0.800 with the program",
    )


def test_a_search_that_brought_the_teacher_nothing_says_with_what_it_is_asked() -> None:
    rows = {"train": {"uri": "t.jsonl"}, "validation": {"uri": "v.jsonl"}}
    world = World(spec_of(dataset=TAUGHT, optimization={"target": "Teacher", **rows}), TEACHER_INPUTS)
    world.finish("optimize")
    assert optimized(world)[2] == "0.700 with the role's own prompt, 0.800 with the program"
    world.finish("optimize", result=OptimizeResult(baseline_score=0.7, score=0.7))
    assert optimized(world)[2].endswith("so the teacher is asked with the prompts of its stages")


def test_why_it_failed_is_its_message() -> None:
    world = until("optimize")
    key = world.plan().step("optimize").key
    world.observations[key] = Observation(running=False, exit_code=65, message="0 of 4 answers can be read")
    assert optimized(world) == ("False", "Failed", "0 of 4 answers can be read")


def test_the_program_is_among_the_artifacts_and_its_cost_in_the_bill() -> None:
    made = status(until("evaluate"))
    assert made["artifacts"]["program"] == f"s3://s/blobs/sha256/{'c' * 64}"
    assert made["costUsd"] == "0.2500"


@pytest.mark.parametrize(
    ("optimization", "teacher", "cost"),
    [({}, False, "0.6500"), (None, False, "0.4000"), (None, True, "0.5250"), ({}, True, "0.7750")],
)
def test_the_bill_is_of_everybody_who_is_paid(optimization: Json | None, teacher: bool, cost: str) -> None:
    world = World(spec_of(dataset=TAUGHT, optimization=optimization, evaluation={"teacher": teacher}), INPUTS)
    for step in [step.name for step in world.plan().steps]:
        world.finish(step)
    assert status(world)["costUsd"] == cost
