"""Options of an optimiser, resolved and refused; what `auto` means is DSPy's to say."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from dspy.teleprompt.mipro_optimizer_v2 import AUTO_RUN_SETTINGS

from scripted_subject import QuizPredict
from stillhouse.errors import InvalidArgument
from stillhouse.optimizer.options import AUTO, Optimizer, Options, idle_options, options_of, parameters_of
from stillhouse.v1.optimizer_pb2 import (
    PROMPT_OPTIMIZER_BOOTSTRAP_FEW_SHOT,
    PROMPT_OPTIMIZER_GEPA,
    PROMPT_OPTIMIZER_MIPRO_V2,
    OptimizeRequest,
    OptimizerOptions,
)
from stillhouse.v1.teacher_pb2 import TeacherModel


def resolved(
    rows: int = 40, *, answered: bool = False, optimizer: Any = PROMPT_OPTIMIZER_MIPRO_V2, **given: Any
) -> Options:
    request = OptimizeRequest(optimizer=optimizer, options=OptimizerOptions(**given))
    return options_of(request, validation_rows=rows, answered=answered)


def test_without_a_word_it_is_dspys_light_run() -> None:
    assert resolved(400) == resolved(400, auto="light")
    assert resolved(400) == Options(
        optimizer=Optimizer.MIPRO_V2,
        instruction_candidates=3,
        demo_candidates=6,
        trials=10,
        validation_rows=100,
        minibatch=True,
        minibatch_size=35,
        minibatch_full_eval_steps=5,
        max_bootstrapped_demos=4,
        max_labeled_demos=0,
        seed=0,
        metric_threshold=None,
        init_temperature=1.0,
    )


@pytest.mark.parametrize("demos", [4, 0])
@pytest.mark.parametrize("auto", ["light", "medium", "heavy"])
def test_auto_is_what_dspy_makes_of_it(auto: str, demos: int) -> None:
    assert AUTO[auto] == (AUTO_RUN_SETTINGS[auto]["n"], AUTO_RUN_SETTINGS[auto]["val_size"])
    found = resolved(2000, auto=auto, max_bootstrapped_demos=demos)
    theirs = dspy.MIPROv2(metric=lambda *_: 1.0, auto=auto, prompt_model=object(), task_model=object(), seed=0)
    theirs._set_random_seeds(0)
    trials, valset, minibatch, instructions, demo_sets = theirs._set_hyperparams_from_run_mode(
        QuizPredict(), None, True, demos == 0, list(range(2000)), None, None
    )
    ours = (found.trials, found.validation_rows, found.minibatch, found.instruction_candidates, found.demo_candidates)
    assert ours == (trials, len(valset), minibatch, instructions, demo_sets)


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        (PROMPT_OPTIMIZER_MIPRO_V2, "mipro_v2"),
        (PROMPT_OPTIMIZER_BOOTSTRAP_FEW_SHOT, "bootstrap_few_shot"),
        (PROMPT_OPTIMIZER_GEPA, "gepa"),
    ],
)
def test_each_optimizer_has_its_name(optimizer: int, name: str) -> None:
    assert resolved(optimizer=optimizer).optimizer == name


def test_fewer_validation_rows_than_a_minibatch_are_evaluated_whole() -> None:
    assert not resolved(34, num_candidates=4, num_trials=3).minibatch
    assert not resolved(35, num_candidates=4, num_trials=3).minibatch
    assert resolved(36, num_candidates=4, num_trials=3).minibatch


def test_a_minibatch_larger_than_the_validation_set_is_refused_and_says_what_to_do() -> None:
    with pytest.raises(
        InvalidArgument, match="minibatch_size 35 is more than the 34 validation rows; say less"
    ) as refused:
        resolved(34, num_candidates=4, num_trials=3, minibatch=True)
    assert refused.value.field == "options.minibatch_size"


def test_answers_of_the_training_rows_become_demos_only_where_there_are_some() -> None:
    assert resolved(max_labeled_demos=3).max_labeled_demos == 0
    assert resolved(max_labeled_demos=3, answered=True).max_labeled_demos == 3
    assert resolved(max_bootstrapped_demos=2, answered=True).max_labeled_demos == 2


def test_one_candidate_is_tried_once() -> None:
    assert resolved(num_candidates=1).trials == 1


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"auto": "light", "num_candidates": 3}, "auto", "name it or them"),
        ({"auto": "light", "num_trials": 3}, "auto", "name it or them"),
        ({"auto": "gentle"}, "auto", "none of light, medium, heavy"),
        ({"num_trials": 3}, "num_candidates", "needs num_candidates"),
        ({"num_candidates": 0}, "num_candidates", "within 1 and 100"),
        ({"num_candidates": 101}, "num_candidates", "within 1 and 100"),
        ({"num_candidates": 3, "num_trials": 0}, "num_trials", "within 1 and 1000"),
        ({"max_bootstrapped_demos": -1}, "max_bootstrapped_demos", "within 0 and 32"),
        ({"max_labeled_demos": 33}, "max_labeled_demos", "within 0 and 32"),
        (
            {"num_candidates": 4, "max_bootstrapped_demos": 0, "max_labeled_demos": 2},
            "max_bootstrapped_demos",
            "at most 3",
        ),
        ({"minibatch_size": 0}, "minibatch_size", "within 1 and"),
        ({"minibatch_full_eval_steps": 0}, "minibatch_full_eval_steps", "within 1 and"),
        ({"metric_threshold": 1.1}, "metric_threshold", "within 0 and 1"),
        ({"metric_threshold": float("nan")}, "metric_threshold", "within 0 and 1"),
        ({"seed": -1}, "seed", "within 0 and 4294967295"),
        ({"init_temperature": 2.1}, "init_temperature", "within 0 and 2"),
    ],
)
def test_what_cannot_work_is_refused_by_name(given: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words) as refused:
        resolved(answered=True, **given)
    assert refused.value.field == f"options.{field}"


def test_no_optimizer_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidArgument, match="mipro_v2, bootstrap_few_shot, gepa") as refused:
        resolved(optimizer=0)
    assert refused.value.field == "optimizer"


GIVEN = {
    "num_candidates": 4,
    "num_trials": 4,
    "max_bootstrapped_demos": 3,
    "max_labeled_demos": 3,
    "metric_threshold": 0.5,
    "init_temperature": 1.5,
    "minibatch_size": 20,
    "seed": 1,
}


@pytest.mark.parametrize(
    ("optimizer", "unused"),
    [
        (PROMPT_OPTIMIZER_MIPRO_V2, set()),
        (PROMPT_OPTIMIZER_BOOTSTRAP_FEW_SHOT, {"prompt_model", "num_trials", "init_temperature", "minibatch_size"}),
        (
            PROMPT_OPTIMIZER_GEPA,
            {"demo_model", "max_bootstrapped_demos", "max_labeled_demos", "metric_threshold", "minibatch_size"},
        ),
    ],
)
def test_what_an_optimiser_has_no_use_for_is_named_and_is_no_parameter(optimizer: Any, unused: set[str]) -> None:
    models = {"prompt_model": TeacherModel(provider="p"), "demo_model": TeacherModel(provider="d")}
    request = OptimizeRequest(optimizer=optimizer, options=OptimizerOptions(**GIVEN), **models)
    assert set(idle_options(request)) == unused
    parameters = parameters_of(options_of(request, validation_rows=40, answered=True))
    assert {name for name in (*GIVEN, *models) if name in parameters} == {
        *GIVEN.keys() - unused - {"num_candidates", "num_trials"}
    }
    assert ("trials" in parameters) == ("num_trials" not in unused)


def test_only_what_has_minibatches_minds_their_size() -> None:
    with pytest.raises(InvalidArgument, match="minibatch_size 35 is more than the 8 validation rows"):
        resolved(8, minibatch=True)
    assert not resolved(8, minibatch=True, optimizer=PROMPT_OPTIMIZER_GEPA).minibatch


def test_few_shots_are_at_least_one() -> None:
    shots = {"num_candidates": 3, "max_bootstrapped_demos": 0}
    with pytest.raises(InvalidArgument, match="max_bootstrapped_demos 0 is not within 1 and 32") as refused:
        resolved(optimizer=PROMPT_OPTIMIZER_BOOTSTRAP_FEW_SHOT, answered=True, **shots)
    assert refused.value.field == "options.max_bootstrapped_demos"
