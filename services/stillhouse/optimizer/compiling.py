"""Runs DSPy's optimizers with options that are resolved. Called by the search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import dspy

from stillhouse.optimizer.options import Optimizer, Options
from stillhouse.optimizer.proposing import ReflectionProposer
from stillhouse.optimizer.scoring import Scoring


@dataclass(frozen=True)
class Models:
    """Who answers: the model that the prompt is for, who proposes instructions, who writes the demos."""

    task: dspy.LM
    prompt: dspy.LM
    demo: dspy.LM | None
    threads: int
    """Rows asked at a time."""


def compile_program(
    program: dspy.Module,
    options: Options,
    models: Models,
    scoring: Scoring,
    *,
    train: Sequence[dspy.Example],
    validation: Sequence[dspy.Example],
) -> dspy.Module:
    """The program that the optimizer returns. Raises what its models raise."""
    compile_with = {
        Optimizer.MIPRO_V2: _mipro_v2,
        Optimizer.BOOTSTRAP_FEW_SHOT: _bootstrap_few_shot,
        Optimizer.GEPA: _gepa,
    }[options.optimizer]
    return compile_with(program, options, models, scoring, list(train), list(validation))


def _mipro_v2(
    program: dspy.Module,
    options: Options,
    models: Models,
    scoring: Scoring,
    train: list[dspy.Example],
    validation: list[dspy.Example],
) -> dspy.Module:
    optimizer = dspy.MIPROv2(
        metric=scoring.score,
        prompt_model=models.prompt,
        task_model=models.task,
        teacher_settings={"lm": models.demo} if models.demo is not None else {},
        max_bootstrapped_demos=options.max_bootstrapped_demos,
        max_labeled_demos=options.max_labeled_demos,
        auto=None,
        num_candidates=options.demo_candidates,
        num_threads=models.threads,
        max_errors=_no_limit(train, validation),
        # compile(seed=0) is ignored.
        seed=options.seed,
        init_temperature=options.init_temperature,
        track_stats=False,
    )
    optimizer.num_instruct_candidates = options.instruction_candidates
    return optimizer.compile(
        program,
        trainset=train,
        valset=validation,
        num_trials=options.trials,
        minibatch=options.minibatch,
        minibatch_size=options.minibatch_size,
        minibatch_full_eval_steps=options.minibatch_full_eval_steps,
    )


def _bootstrap_few_shot(
    program: dspy.Module,
    options: Options,
    models: Models,
    scoring: Scoring,
    train: list[dspy.Example],
    validation: list[dspy.Example],
) -> dspy.Module:
    optimizer = dspy.BootstrapFewShotWithRandomSearch(
        metric=scoring.score,
        teacher_settings={"lm": models.demo} if models.demo is not None else {},
        max_bootstrapped_demos=max(options.max_bootstrapped_demos, 1),
        max_labeled_demos=options.max_labeled_demos,
        num_candidate_programs=options.demo_candidates,
        num_threads=models.threads,
        max_errors=_no_limit(train, validation),
    )
    with dspy.context(lm=models.task):
        return optimizer.compile(program, trainset=train, valset=validation)


def _gepa(
    program: dspy.Module,
    options: Options,
    models: Models,
    scoring: Scoring,
    train: list[dspy.Example],
    validation: list[dspy.Example],
) -> dspy.Module:
    proposer = ReflectionProposer()
    optimizer = dspy.GEPA(
        metric=scoring.with_feedback,
        instruction_proposer=proposer,
        # A trial of MIPROv2's is one evaluation of all validation rows; so is one here.
        max_metric_calls=math.ceil((options.trials + 1) * len(validation)),
        reflection_lm=models.prompt.copy(temperature=options.init_temperature),
        num_threads=models.threads,
        seed=options.seed,
    )
    with dspy.context(lm=models.task):
        compiled = optimizer.compile(program, trainset=train, valset=validation)
    proposer.raise_if_none_made()
    return compiled


def _no_limit(train: list[dspy.Example], validation: list[dspy.Example]) -> int:
    """Of failed rows: they are counted and shown; DSPy would take the end of an evaluation for a score of 0."""
    return 1 + 1000 * (len(train) + len(validation))
