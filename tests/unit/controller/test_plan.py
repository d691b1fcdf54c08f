"""plan(): what is started, waited for, retried and given up, and the outcome."""

from __future__ import annotations

import pytest

from planned_world import ALL_STEPS, World, blob, spec_of, started
from stillhouse.controller.plan import MAX_ATTEMPTS, Observation, Outcome, StepState, Stop


def test_steps_are_started_one_after_the_other_in_their_order() -> None:
    world = World(spec_of())
    for name in ALL_STEPS:
        made = world.plan()
        assert started(made) == [name]
        assert made.outcome is None
        world.finish(name)
    assert world.plan().outcome is Outcome.SUCCEEDED
    assert world.plan().actions == ()


def test_what_is_running_is_not_started_again() -> None:
    world = World(spec_of())
    world.observations[world.plan().step("dataset").key] = Observation(running=True)
    assert started(world.plan()) == []
    assert started(world.plan(capacity=2)) == ["base"]


def test_a_finished_stage_is_never_started() -> None:
    world = World(spec_of())
    for name in ALL_STEPS:
        world.finish(name)
    assert {step.state for step in world.plan().steps} == {StepState.DONE}


def test_a_failed_gate_is_an_outcome_of_its_own() -> None:
    world = World(spec_of())
    for name in ALL_STEPS:
        world.finish(name, passed=name != "evaluate")
    assert world.plan().outcome is Outcome.GATES_FAILED


def test_a_permanent_failure_ends_the_run_with_its_message() -> None:
    world = World(spec_of())
    key = world.plan().step("dataset").key
    world.observations[key] = Observation(running=False, exit_code=65, message="too few records")
    made = world.plan()
    assert made.outcome is Outcome.FAILED
    assert made.actions == ()
    assert made.step("dataset").message == "too few records"
    assert made.step("dataset").exit_code == 65


@pytest.mark.parametrize("exit_code", [75, 143, 130, 0])
def test_a_temporary_end_is_retried_after_a_growing_pause(exit_code: int) -> None:
    world = World(spec_of())
    key = world.plan().step("dataset").key
    world.observations[key] = Observation(running=False, exit_code=exit_code, attempts=2, ended_at=100.0)
    assert started(world.plan(now=103.9)) == ["base"]
    assert world.plan(now=103.9).step("dataset").state is StepState.RETRYING
    assert started(world.plan(now=104.1)) == ["dataset"]


def test_retries_end() -> None:
    world = World(spec_of())
    key = world.plan().step("dataset").key
    world.observations[key] = Observation(running=False, exit_code=75, attempts=MAX_ATTEMPTS, message="store down")
    assert world.plan(now=1e9).outcome is Outcome.FAILED
    assert "gave up after 5 attempts" in world.plan().step("dataset").message
    assert world.plan().step("dataset").exit_code == 75


def test_suspend_stops_what_runs_and_starts_nothing() -> None:
    world = World(spec_of())
    key = world.plan().step("dataset").key
    suspended = World(spec_of(suspend=True))
    suspended.observations[key] = Observation(running=True)
    assert suspended.plan().actions == (Stop(key),)
    suspended.observations.clear()
    assert suspended.plan().actions == ()
    assert suspended.plan().outcome is Outcome.SUSPENDED


def test_a_job_that_nobody_wants_any_more_is_stopped() -> None:
    world = World(spec_of())
    world.observations["f" * 64] = Observation(running=True)
    assert Stop("f" * 64) in world.plan().actions


def test_changing_a_gate_repeats_the_evaluation_alone() -> None:
    world = World(spec_of())
    for name in ALL_STEPS:
        world.finish(name)
    world.spec = spec_of(evaluation={"gates": {"minScore": "0.9"}})
    made = world.plan()
    assert [step.name for step in made.steps if step.state is not StepState.DONE] == ["evaluate"]


def test_changing_the_learning_rate_keeps_data_and_base() -> None:
    world = World(spec_of())
    for name in ALL_STEPS:
        world.finish(name)
    world.spec = spec_of(student={"training": {"learningRate": "1e-4"}})
    done = [step.name for step in world.plan().steps if step.state is StepState.DONE]
    assert done == ["dataset", "base"]
    assert started(world.plan()) == ["train"]


def test_writing_a_default_out_changes_nothing() -> None:
    world = World(spec_of())
    for name in ALL_STEPS:
        world.finish(name)
    world.spec = spec_of(
        student={"training": {"learningRate": "0.0002", "epochs": 3}}, store="file:///elsewhere", serve={"slots": 4}
    )
    assert world.plan().outcome is Outcome.SUCCEEDED


def test_without_the_margin_gate_the_base_is_not_evaluated() -> None:
    world = World(spec_of(evaluation={"gates": {"minMarginOverBase": "None"}}))
    assert [step.name for step in world.plan().steps] == ["dataset", "base", "train", "export", "evaluate"]


def test_a_second_constraint_is_evaluated_without_gates() -> None:
    world = World(spec_of(evaluation={"constraints": ["RoleGrammar", "None"]}))
    for name in [*ALL_STEPS, "evaluate-unconstrained"]:
        assert started(world.plan()) == [name]
        world.finish(name)
    assert world.plan().outcome is Outcome.SUCCEEDED


def test_an_evaluation_is_served_the_model_that_it_names() -> None:
    world = World(spec_of())
    for name in ALL_STEPS[:-1]:
        world.finish(name)
    step = world.plan().step("evaluate")
    assert step.serves == blob("7")
