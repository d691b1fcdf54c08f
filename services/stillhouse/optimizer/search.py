"""One search for a better prompt: baseline first, then a DSPy optimizer, then the best of what was evaluated in full.

Called twice by `optimization`, the second time as a replay: what it does follows from the answers alone.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import dspy
import optuna

from stillhouse.errors import FailedPrecondition
from stillhouse.optimizer.compiling import NothingLeft, compile_program
from stillhouse.optimizer.evaluations import NO_ANSWER, REFUSED, TOO_LONG, TOO_SLOW, UNREADABLE, Evaluation, Evaluations
from stillhouse.optimizer.journal import RunEnded
from stillhouse.optimizer.plan import Search
from stillhouse.optimizer.proposing import ProposalAdapter

_REMEDIES = {
    NO_ANSWER: "see whether this is the model you mean, and give its answers more max_tokens",
    UNREADABLE: "hold a student to the role's grammar, give its answers more max_tokens, or take a better one",
    TOO_LONG: "serve the student with more context a slot",
    TOO_SLOW: "ask fewer rows at a time (--concurrency), or allow fewer max_tokens",
    REFUSED: "the model's own message says why",
}


@dataclass(frozen=True)
class Found:
    """What a search found."""

    baseline: Evaluation
    best: Evaluation
    evaluations: tuple[Evaluation, ...]
    ended_by: str
    """The limit that ended it; empty where it came to its end."""
    held_out: tuple[Evaluation, Evaluation] | None = None
    """The role's own prompt and the best program on rows that chose nothing; None where they were not asked."""


def search(plan: Search, on_row: Callable[[Evaluations, int, int], None]) -> Found:
    """The best program. Raises FailedPrecondition (few readable answers, a failing optimizer) and what ends a run."""
    evaluations = Evaluations(plan.validation, on_row)
    with _asking(plan, evaluations) as end:
        _run(plan, evaluations)
    ended_by, best = end.limit, evaluations.best
    if best is None:
        raise FailedPrecondition(
            f"{ended_by} was reached before the role's own prompt was evaluated on {len(plan.validation)} rows; "
            "allow more"
        )
    baseline, held_out = evaluations.finished[0], None
    if plan.held_out and not ended_by and best is not baseline:
        judging = Evaluations(plan.held_out, lambda _, done, total: on_row(evaluations, done, total))
        with _asking(plan, judging) as end:
            for each in (baseline, best):
                _evaluate(plan, each.program, plan.held_out)
            held_out = judging.finished[0], judging.finished[1]
        ended_by = end.limit
    return Found(baseline, best, tuple(evaluations.finished), ended_by, held_out)


@dataclass
class _End:
    limit: str = ""


@contextmanager
def _asking(plan: Search, evaluations: Evaluations) -> Iterator[_End]:
    """DSPy as it is asked here. A limit that is reached ends what is within, and is told; an error is raised."""
    end = _End()
    settings = {"callbacks": [evaluations], "adapter": ProposalAdapter(), "disable_history": True}
    with _quiet(), dspy.context(lm=plan.models.task, num_threads=plan.models.threads, **settings):
        try:
            yield end
        except RunEnded as ended:
            if ended.error is not None:
                raise ended.error from ended
            end.limit = ended.limit
        finally:
            evaluations.close()


def _run(plan: Search, evaluations: Evaluations) -> None:
    program = plan.program()
    plan.scoring.threshold = 0.0
    _evaluate(plan, program, plan.validation)
    baseline = evaluations.finished[0]
    _check_baseline(baseline, plan.min_baseline_valid)
    wanted = plan.options.metric_threshold
    plan.scoring.threshold = baseline.score if wanted is None else wanted
    try:
        compiled = compile_program(program, plan)
    except NothingLeft:
        return
    except Exception as exc:  # whatever an optimizer raises: it is a library of its own
        raise FailedPrecondition(
            f"{plan.options.optimizer} failed ({type(exc).__name__}: {' '.join(str(exc).split())[:500]}); a larger "
            "prompt model, or a student with more context, proposes instructions that a small one can't"
        ) from exc
    _evaluate(plan, compiled, plan.validation)


def _evaluate(plan: Search, program: dspy.Module, rows: Sequence[dspy.Example]) -> None:
    evaluate = dspy.Evaluate(
        devset=list(rows), metric=plan.scoring.score, num_threads=plan.models.threads, max_errors=len(rows) + 1
    )
    evaluate(program)


def _check_baseline(baseline: Evaluation, least: float) -> None:
    if baseline.valid_rate >= least:
        return
    counted = sorted(baseline.failures.items(), key=lambda item: (-item[1], item[0]))
    commonest = counted[0][0]
    raise FailedPrecondition(
        f"{round(baseline.valid_rate * baseline.rows)} of {baseline.rows} answers to the role's own prompt can be "
        f"read, {least:.0%} are wanted before trials are spent; failed rows: "
        f"{', '.join(f'{reason} {count}' for reason, count in counted)} (the first: {baseline.first_failure}); "
        f"{_REMEDIES.get(commonest, 'correct that first')}"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """DSPy prints, draws bars and logs whole rows; progress and results are told by the stage."""
    loggers = [logging.getLogger(name) for name in ("dspy", "gepa")]
    levels = [logger.level for logger in loggers]
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        # Its level is MIPROv2's, which has every failed trial told with a traceback.
        optuna.logging.disable_default_handler()
        try:
            yield
        finally:
            optuna.logging.enable_default_handler()
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
