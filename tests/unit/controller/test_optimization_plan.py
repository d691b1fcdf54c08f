"""plan() with an optimization: what waits for it, what its program changes, and what asks for another one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from planned_world import ALL_STEPS, World, blob, spec_of, started
from stillhouse.controller.plan import Outcome, StepState
from stillhouse.controller.requests import Inputs
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.evaluator_pb2 import CONSTRAINT_KIND_NONE, CONSTRAINT_KIND_ROLE_GRAMMAR, EvaluateRequest
from stillhouse.v1.optimizer_pb2 import (
    PROMPT_OPTIMIZER_GEPA,
    PROMPT_OPTIMIZER_MIPRO_V2,
    OptimizeRequest,
    OptimizeResult,
)
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest
from stillhouse.v1.teacher_pb2 import TEACHER_PROMPT_FENCED, TEACHER_PROMPT_PLAIN

Json = dict[str, Any]
PROGRAM = blob("c")
STUDENT_STEPS = [*ALL_STEPS[:-1], "optimize", "evaluate", "evaluate-unoptimized"]
PROPOSER = {"provider": "litellm", "model": "ollama_chat/granite4"}
ROWS = {"train": {"uri": "t.jsonl"}, "validation": {"uri": "v.jsonl"}}
STAGES = [
    {"import": {"uri": "rows.jsonl"}},
    {"model": "gemini-2.5-pro", "temperature": "0.3", "maxOutputTokens": 4096},
    {"model": "gemini-2.5-flash"},
]
TEACHER_INPUTS = Inputs(
    concepts=Artifact(name="concepts.jsonl", sha256="c" * 64),
    stage_imports=(blob("d"), None, None),
    optimization_train=blob("e"),
    optimization_validation=blob("f"),
)


def for_student(optimization: Json | None = None, **changes: Any) -> World:
    return World(spec_of(optimization=optimization or {}, **changes))


def for_teacher(optimization: Json | None = None, **changes: Any) -> World:
    dataset = {"concepts": {"uri": "concepts.jsonl"}, "teacher": {"stages": STAGES}}
    wanted = {"target": "Teacher", **ROWS, **(optimization or {})}
    changes = {"evaluation": {"teacher": True}, **changes}
    return World(spec_of(dataset=dataset, optimization=wanted, **changes), TEACHER_INPUTS)


def finish_until(world: World, name: str) -> World:
    for step in [step.name for step in world.plan().steps]:
        if step == name:
            return world
        world.finish(step)
    raise AssertionError(f"there is no step {name}")


def finish_all(world: World) -> World:
    for name in [step.name for step in world.plan().steps]:
        world.finish(name)
    return world


def optimization_of(world: World) -> OptimizeRequest:
    request = world.plan().step("optimize").request
    assert isinstance(request, OptimizeRequest)
    return request


def evaluation_of(world: World, name: str) -> EvaluateRequest:
    request = world.plan().step(name).request
    assert isinstance(request, EvaluateRequest)
    return request


def test_the_students_prompt_is_optimised_before_the_evaluation_that_the_gates_hold_for() -> None:
    world = for_student()
    for name in STUDENT_STEPS:
        assert started(world.plan()) == [name]
        world.finish(name)
    assert world.plan().outcome is Outcome.SUCCEEDED


def test_the_order_of_the_steps_is_the_same_before_and_after_the_training() -> None:
    world = for_student(evaluation={"constraints": ["RoleGrammar", "None"]})
    before = [step.name for step in world.plan().steps]
    assert before == [*STUDENT_STEPS, "evaluate-unconstrained"]
    assert {step.name: step.message for step in world.plan().steps[3:]} == {
        "export": "train",
        "export-base": "train",
        "evaluate-base": "export-base",
        **dict.fromkeys(("optimize", "evaluate", "evaluate-unoptimized"), "export"),
        "evaluate-unconstrained": "optimize",
    }
    assert [step.name for step in finish_until(world, "export").plan().steps] == before
    assert [step.name for step in finish_until(world, "evaluate").plan().steps] == before


def test_the_gates_wait_for_the_program_and_the_own_prompt_does_not() -> None:
    world = for_student(evaluation={"constraints": ["RoleGrammar", "None"]})
    made = finish_until(world, "optimize").plan(capacity=9)
    assert started(made) == ["optimize", "evaluate-unoptimized"]
    assert made.step("evaluate").message == "optimize"
    assert made.step("evaluate-unconstrained").message == "optimize"


def test_the_student_is_served_beside_its_optimization() -> None:
    step = finish_until(for_student(), "optimize").plan().step("optimize")
    assert step.serves == blob("7")
    assert (step.stage, step.service) == ("optimize", "optimizer")


def test_every_evaluation_of_the_student_is_asked_with_the_program_but_the_one_that_tells_what_it_brought() -> None:
    world = finish_all(for_student(evaluation={"constraints": ["RoleGrammar", "None"]}))
    gated, plain = evaluation_of(world, "evaluate"), evaluation_of(world, "evaluate-unoptimized")
    assert gated.program == PROGRAM
    assert gated.gates
    assert not plain.HasField("program")
    assert not plain.gates
    assert (plain.model, plain.constraint, plain.seed) == (gated.model, gated.constraint, gated.seed)
    assert evaluation_of(world, "evaluate-unconstrained").program == PROGRAM
    assert not evaluation_of(world, "evaluate-base").HasField("program")


def test_demos_come_from_training_rows_and_scores_from_tuning_rows_never_from_the_gates_own() -> None:
    request = optimization_of(finish_until(for_student(), "optimize"))
    assert (request.train, request.validation, request.held_out) == (blob("2"), blob("3"), blob("4"))
    assert (request.train_source, request.validation_source) == (
        "the data set's training rows",
        "the data set's tuning rows",
    )
    inputs = Inputs(imports=(blob("1"),), optimization_validation=blob("e"))
    own = World(spec_of(optimization={"validation": {"uri": "v.jsonl"}}), inputs)
    request = optimization_of(finish_until(own, "optimize"))
    assert (request.train, request.validation, request.held_out) == (blob("2"), blob("e"), blob("4"))
    assert request.validation_source == "v.jsonl"


def test_the_student_is_asked_as_its_evaluation_asks() -> None:
    evaluation = {"constraints": ["None", "RoleGrammar"], "maxTokens": 640, "temperature": "0.2"}
    request = optimization_of(finish_until(for_student(evaluation=evaluation), "optimize"))
    assert (request.constraint, request.max_tokens, request.temperature) == (CONSTRAINT_KIND_NONE, 640, 0.2)
    assert optimization_of(finish_until(for_student(), "optimize")).constraint == CONSTRAINT_KIND_ROLE_GRAMMAR


def test_what_the_spec_says_is_what_the_optimizer_is_told() -> None:
    wanted = {
        "optimizer": "GEPA",
        "numCandidates": 4,
        "numTrials": 9,
        "minibatch": False,
        "maxLabeledDemos": 0,
        "seed": 5,
        "metricThreshold": "0.9",
        "initTemperature": "1.4",
        "minBaselineValid": "0.25",
        "promptModel": PROPOSER,
        "maxCalls": 500,
        "maxSeconds": 3600,
    }
    request = optimization_of(finish_until(for_student(wanted), "optimize"))
    options = request.options
    assert request.optimizer == PROMPT_OPTIMIZER_GEPA
    assert (options.num_candidates, options.num_trials, options.seed) == (4, 9, 5)
    assert (options.metric_threshold, options.init_temperature) == (0.9, 1.4)
    assert options.HasField("minibatch")
    assert options.HasField("max_labeled_demos")
    assert not options.HasField("max_bootstrapped_demos")
    assert (request.min_baseline_valid, request.max_calls, request.max_seconds) == (0.25, 500, 3600)
    assert not request.HasField("max_total_tokens")
    assert (request.prompt_model.provider, request.prompt_model.model) == ("litellm", "ollama_chat/granite4")
    assert request.prompt_model.prompt == TEACHER_PROMPT_PLAIN
    assert not request.HasField("demo_model")


def test_an_empty_optimization_leaves_everything_to_the_optimizer() -> None:
    request = optimization_of(finish_until(for_student(), "optimize"))
    assert request.optimizer == PROMPT_OPTIMIZER_MIPRO_V2
    assert [field.name for field, _ in request.options.ListFields()] == []
    assert request.min_baseline_valid == 0.5


@pytest.mark.parametrize(
    ("optimization", "budget", "limit"),
    [
        ({}, "1", None),
        ({"maxCostUsd": "0.5"}, None, 0.5),
        ({"promptModel": PROPOSER}, "1", 1.0),
        ({"demoModel": PROPOSER, "maxCostUsd": "0.5"}, "1", 0.5),
        ({"demoModel": PROPOSER, "maxCostUsd": "2"}, "1", 1.0),
        ({"promptModel": PROPOSER}, None, None),
    ],
)
def test_paid_models_get_the_smaller_of_cap_and_budget(
    optimization: Json, budget: str | None, limit: float | None
) -> None:
    changes = {} if budget is None else {"budget": {"maxCostUsd": budget}}
    request = optimization_of(finish_until(for_student(optimization, **changes), "optimize"))
    assert (request.max_cost_usd if request.HasField("max_cost_usd") else None) == limit


def test_the_teachers_prompt_is_optimised_before_anything_is_generated() -> None:
    world = for_teacher()
    assert started(world.plan(capacity=9)) == ["optimize", "base"]
    assert world.plan().step("generate").message == "optimize"
    finish_all(world)
    names = [step.name for step in world.plan().steps]
    assert names[:2] == ["optimize", "generate"]
    assert "evaluate-unoptimized" not in names
    assert world.plan().outcome is Outcome.SUCCEEDED


def test_the_teachers_first_model_is_asked_as_its_stage_asks() -> None:
    request = optimization_of(for_teacher())
    assert (request.teacher.model, request.constraint) == ("gemini-2.5-pro", CONSTRAINT_KIND_NONE)
    assert (request.max_tokens, request.temperature) == (4096, 0.3)
    assert (request.train, request.validation) == (blob("e"), blob("f"))
    assert (request.train_source, request.validation_source) == ("t.jsonl", "v.jsonl")
    assert (request.HasField("held_out"), request.HasField("model")) == (False, False)
    assert for_teacher().plan().step("optimize").serves is None


def test_every_model_of_the_teacher_is_asked_with_the_program_and_no_student() -> None:
    world = finish_all(for_teacher())
    request = world.plan().step("generate").request
    assert isinstance(request, GenerateRecordsRequest)
    assert [stage.teacher.program == PROGRAM for stage in request.stages] == [False, True, True]
    assert request.stages[1].teacher.prompt == TEACHER_PROMPT_FENCED
    assert evaluation_of(world, "evaluate-teacher").teacher.program == PROGRAM
    assert not evaluation_of(world, "evaluate").HasField("program")


@pytest.mark.parametrize("score", [0.7, 0.6])
def test_a_program_that_is_no_better_than_the_own_prompt_leaves_the_stages_their_prompts(score: float) -> None:
    world = for_teacher(budget={"maxCostUsd": "1"})
    world.finish("optimize", result=OptimizeResult(program=PROGRAM, baseline_score=0.7, score=score, cost_usd=0.25))
    world.finish("generate")
    world.finish("dataset")
    request = world.plan().step("generate").request
    assert isinstance(request, GenerateRecordsRequest)
    assert [stage.teacher.HasField("program") for stage in request.stages] == [False, False, False]
    assert request.max_cost_usd == 0.75
    assert not evaluation_of(world, "evaluate-teacher").teacher.HasField("program")


def test_what_the_optimization_cost_is_taken_from_the_budget() -> None:
    world = for_teacher(budget={"maxCostUsd": "1"})
    assert optimization_of(world).max_cost_usd == 1.0
    finish_all(world)
    request = world.plan().step("generate").request
    assert isinstance(request, GenerateRecordsRequest)
    assert request.max_cost_usd == 0.75
    assert evaluation_of(world, "evaluate-teacher").max_cost_usd == pytest.approx(0.35)


def test_rows_that_are_held_out_by_name_are_held_out_from_the_teachers_prompt_too() -> None:
    world = for_teacher()
    world.inputs = replace(TEACHER_INPUTS, validation=blob("9"))
    assert optimization_of(world).held_out == blob("9")


def test_a_budget_counts_what_the_teachers_own_evaluation_cost() -> None:
    evaluation = {"teacher": True}
    dataset = {"concepts": {"uri": "concepts.jsonl"}, "teacher": {"stages": STAGES}}
    wanted = {"promptModel": PROPOSER}
    world = World(
        spec_of(dataset=dataset, optimization=wanted, evaluation=evaluation, budget={"maxCostUsd": "1"}), TEACHER_INPUTS
    )
    for name in ("generate", "dataset", "base", "train", "export", "export-base"):
        world.finish(name)
    assert "optimize" not in started(world.plan(capacity=9))
    assert world.plan().step("optimize").message == "evaluate-teacher"
    world.finish("evaluate-teacher")
    assert optimization_of(world).max_cost_usd == pytest.approx(1 - 0.4 - 0.125)


def test_another_seed_optimises_again_and_trains_nothing() -> None:
    world = finish_all(for_student())
    world.spec = spec_of(optimization={"seed": 7})
    assert [step.name for step in world.plan().steps if step.state is not StepState.DONE] == ["optimize", "evaluate"]


def test_a_larger_budget_searches_again_and_keeps_what_the_same_program_led_to() -> None:
    world = finish_all(for_student({"promptModel": PROPOSER}, budget={"maxCostUsd": "1"}))
    world.spec = spec_of(optimization={"promptModel": PROPOSER}, budget={"maxCostUsd": "2"})
    assert started(world.plan(capacity=9)) == ["optimize"]
    world.finish("optimize")
    assert world.plan().outcome is Outcome.SUCCEEDED


def test_taking_the_optimization_out_needs_the_gated_evaluation_alone() -> None:
    world = finish_all(for_student())
    world.spec = spec_of()
    assert [step.name for step in world.plan().steps if step.state is not StepState.DONE] == ["evaluate"]
