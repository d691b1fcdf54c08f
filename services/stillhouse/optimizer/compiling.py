"""Runs DSPy's optimizers with options that are resolved. Called by the search."""

from __future__ import annotations

import random

import dspy

from stillhouse.optimizer.bootstrapping import bootstrapping_ahead
from stillhouse.optimizer.options import Optimizer
from stillhouse.optimizer.plan import Search
from stillhouse.optimizer.proposing import ReflectionProposer
from stillhouse.optimizer.proposing_ahead import proposing_ahead

_NOTHING_LEFT = "No valid program found"
"""How MIPROv2 says that every combination its minibatches tried was evaluated on all rows already."""


class NothingLeft(Exception):
    """The search space is used up before the trials are: what was evaluated is all there is."""


def compile_program(program: dspy.Module, plan: Search) -> dspy.Module:
    """The program that the optimizer returns; the configured model is the task's.

    Raises NothingLeft, and what its models raise.
    """
    compile_with = {
        Optimizer.MIPRO_V2: _mipro_v2,
        Optimizer.BOOTSTRAP_FEW_SHOT: _bootstrap_few_shot,
        Optimizer.GEPA: _gepa,
    }[plan.options.optimizer]
    with bootstrapping_ahead(), proposing_ahead():
        return compile_with(program, plan)


def _mipro_v2(program: dspy.Module, plan: Search) -> dspy.Module:
    options, models = plan.options, plan.models
    optimizer = dspy.MIPROv2(
        metric=plan.scoring.score,
        prompt_model=models.prompt,
        task_model=models.task,
        teacher_settings=_demo_settings(plan),
        max_bootstrapped_demos=options.max_bootstrapped_demos,
        max_labeled_demos=options.max_labeled_demos,
        auto=None,
        num_candidates=options.demo_candidates,
        num_threads=models.threads,
        max_errors=_no_limit(plan),
        # compile(seed=0) is ignored.
        seed=options.seed,
        init_temperature=options.init_temperature,
        track_stats=False,
    )
    optimizer.num_instruct_candidates = options.instruction_candidates
    try:
        return optimizer.compile(
            program,
            trainset=list(plan.train),
            valset=list(plan.validation),
            num_trials=options.trials,
            minibatch=options.minibatch,
            minibatch_size=options.minibatch_size,
            minibatch_full_eval_steps=options.minibatch_full_eval_steps,
        )
    except ValueError as exc:
        if str(exc).startswith(_NOTHING_LEFT):
            raise NothingLeft from exc
        raise


def _bootstrap_few_shot(program: dspy.Module, plan: Search) -> dspy.Module:
    options, models = plan.options, plan.models
    optimizer = dspy.BootstrapFewShotWithRandomSearch(
        metric=plan.scoring.score,
        teacher_settings=_demo_settings(plan),
        max_bootstrapped_demos=options.max_bootstrapped_demos,
        max_labeled_demos=options.max_labeled_demos,
        num_candidate_programs=options.demo_candidates,
        num_threads=models.threads,
        max_errors=_no_limit(plan),
    )
    # Its candidates are the same orders of the rows each time; the seed decides what they are orders of.
    train = list(plan.train)
    if options.seed:
        random.Random(options.seed).shuffle(train)  # noqa: S311 - no secret
    return optimizer.compile(program, trainset=train, valset=list(plan.validation))


def _gepa(program: dspy.Module, plan: Search) -> dspy.Module:
    options, models = plan.options, plan.models
    proposer = ReflectionProposer()
    optimizer = dspy.GEPA(
        metric=plan.scoring.with_feedback,
        instruction_proposer=proposer,
        # A trial of MIPROv2's is one evaluation of all validation rows; so is one here.
        max_metric_calls=(options.trials + 1) * len(plan.validation),
        reflection_lm=models.prompt.copy(temperature=options.init_temperature),
        num_threads=models.threads,
        seed=options.seed,
    )
    compiled = optimizer.compile(program, trainset=list(plan.train), valset=list(plan.validation))
    proposer.raise_if_none_made()
    return compiled


def _demo_settings(plan: Search) -> dict[str, dspy.LM]:
    return {"lm": plan.models.demo} if plan.models.demo is not None else {}


def _no_limit(plan: Search) -> int:
    """Of failed rows: they are counted and shown; DSPy would take the end of an evaluation for a score of 0."""
    return 1 + 1000 * (len(plan.train) + len(plan.validation))
