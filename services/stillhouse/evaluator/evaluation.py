"""Measures a model over a validation set: asks, judges, sums up, decides the gates.

Called by the stage (with a store) and by `stillhouse evaluate` (without one). It must not know how a student is
reached.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from threading import Event
from time import monotonic
from typing import Any

from stillhouse.artifacts.answers import AnswerLog, LoggedAnswer
from stillhouse.dataset.importing import required_inputs
from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.evaluator.asking import FailedAnswer, Interviewer, Patience
from stillhouse.evaluator.figures import RowResult, evaluation_of
from stillhouse.evaluator.gates import Comparison, check_gates, decide, gap
from stillhouse.evaluator.judging import judge
from stillhouse.evaluator.rows import EvaluationRow
from stillhouse.evaluator.student import Question, Student
from stillhouse.evaluator.summary import (
    Baseline,
    Subject,
    check_comparable,
    comparison_document,
    summary_document,
)
from stillhouse.roles.metric_reference import Metric
from stillhouse.roles.role import Guidance, Role
from stillhouse.v1.common_pb2 import Progress
from stillhouse.v1.evaluator_pb2 import Evaluation, Gate, GateResult

ROLE_GRAMMAR = "role_grammar"
NO_CONSTRAINT = "none"
MAX_TOKENS = 65_536
"""Of one answer; a student's context ends before, a teacher may think a lot."""
MAX_CONCURRENCY = 64
_NAMED_ROWS = 5
_NAMED_CHARACTERS = 60


@dataclass(frozen=True)
class EvaluationPlan:
    """What is measured and what it must reach."""

    role: Role
    metric: Metric | None
    """A metric of the user's own; None for the role's."""
    rows: Sequence[EvaluationRow]
    subject: Subject
    """With the digest of the model that is expected, or an empty one for whatever the student serves."""
    gates: Sequence[Gate] = ()
    reference_score: float | None = None
    reference_source: str = ""
    """`validation` (the teacher on the same rows) or `dataset` (the mean of its records in the data set)."""
    baseline: Baseline | None = None
    guidance: Guidance | None = None
    """Of the optimised program that the subject names; None for the role's own prompt."""


@dataclass(frozen=True)
class Measured:
    """A finished evaluation."""

    evaluation: Evaluation
    results: Sequence[RowResult]
    gap: float
    gates: Sequence[GateResult]
    document: dict[str, Any]
    """The summary, as EVAL.json has it."""
    cost_usd: float = 0.0
    """What the answers cost when they were paid for; a student's cost nothing."""

    @property
    def passed(self) -> bool:
        """No gate failed."""
        return all(gate.passed for gate in self.gates)


def check_plan(plan: EvaluationPlan) -> None:
    """Raises InvalidArgument on a plan that can't be measured, before any answer is asked for.

    A program whose demos show what the rows ask is among them.
    """
    if not plan.rows:
        raise InvalidArgument("the validation set has no rows; nothing can be measured on it", field="validation")
    if not 1 <= plan.subject.max_tokens <= MAX_TOKENS:
        raise InvalidArgument(
            f"max_tokens {plan.subject.max_tokens} is not within 1 and {MAX_TOKENS}", field="max_tokens"
        )
    if not 0 <= plan.subject.temperature <= 2:
        raise InvalidArgument(f"temperature {plan.subject.temperature:g} is not within 0 and 2", field="temperature")
    if plan.reference_score is not None and not 0 < plan.reference_score <= 1:
        raise InvalidArgument(
            f"reference score {plan.reference_score:g} is not within 0 and 1", field="reference_score"
        )
    check_concurrency(plan.subject.concurrency, plan.gates)
    _check_demos(plan)
    check_gates(plan.gates, _comparison(plan))
    if plan.baseline is not None:
        check_comparable(plan.baseline, plan.subject)


def check_concurrency(concurrency: int, gates: Sequence[Gate]) -> None:
    """Raises InvalidArgument: out of range, or more than one where seconds are to be bounded."""
    if not 1 <= concurrency <= MAX_CONCURRENCY:
        raise InvalidArgument(f"concurrency {concurrency} is not within 1 and {MAX_CONCURRENCY}", field="concurrency")
    if concurrency > 1 and any(gate.figure == "median_seconds" for gate in gates):
        raise InvalidArgument(
            "a bound on median_seconds is one on an answer with one request in flight; leave --concurrency at 1",
            field="concurrency",
        )


def _check_demos(plan: EvaluationPlan) -> None:
    """Raises InvalidArgument where a demo has the input group of a row: it gives away what the row asks."""
    if plan.guidance is None:
        return
    role = plan.role
    needed = (*required_inputs(role), *role.output_fields)  # what lacks one is left out of the prompt
    shown = {
        role.group_key(demo) for demo in plan.guidance.demos if all((demo.get(name) or "").strip() for name in needed)
    }
    given_away = [
        f"row {number} {row.inputs.get(role.group_field, '')[:_NAMED_CHARACTERS]!r}"
        for number, row in enumerate(plan.rows, start=1)
        if role.group_key(row.inputs) in shown
    ]
    if given_away:
        more = len(given_away) - _NAMED_ROWS
        named = ", ".join(given_away[:_NAMED_ROWS]) + (f" and {more} more" if more > 0 else "")
        raise InvalidArgument(
            f"the program's demos give away the answers of {len(given_away)} of {len(plan.rows)} validation rows, "
            f"whose {role.group_field} they have: {named}; evaluate on other rows, or optimise anew with these "
            "held out (--held-out)",
            field="program",
        )


def measure(
    plan: EvaluationPlan,
    student: Student,
    *,
    log: AnswerLog | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    stopping: Event | None = None,
    patience: Patience | None = None,
) -> Measured:
    """Every row asked, as many at a time as the plan's subject says, and judged.

    Raises InvalidArgument on a bad plan, FailedPrecondition where the student serves another model or no row could be
    answered, Unavailable where it stays away, Cancelled when `stopping` is set (answers so far are in the log).
    """
    check_plan(plan)
    concurrency = plan.subject.concurrency
    interviewer = Interviewer(student, log, stopping=stopping, patience=patience, concurrency=concurrency)
    subject = _identified(plan.subject, interviewer.model_sha256, student.address)
    results = _results(plan, interviewer, report)
    if all(result.failure for result in results):
        raise FailedPrecondition(
            f"{student.address} answered none of {len(results)} rows; the first: "
            f"{results[0].failure}: {results[0].failure_message}"
        )
    return _measured(plan, subject, results)


def _identified(subject: Subject, served_sha256: str, address: str) -> Subject:
    wanted = subject.model_sha256
    if wanted and served_sha256 != wanted:
        served = f"model {served_sha256[:12]}" if served_sha256 else "a model that it does not name"
        raise FailedPrecondition(
            f"the student at {address} serves {served}, not {wanted[:12]} which is to be evaluated; start that one",
            field="model",
        )
    return replace(subject, model_sha256=served_sha256)


def _results(plan: EvaluationPlan, interviewer: Interviewer, report: Callable[[Progress], None]) -> list[RowResult]:
    results: dict[int, RowResult] = {}
    started = monotonic()
    with closing(_answers(plan, interviewer)) as answers:
        for number, answer in answers:
            results[number] = judge(plan.rows[number], answer, plan.role, plan.metric)
            report(_progress(list(results.values()), len(plan.rows), monotonic() - started))
    return [results[number] for number in sorted(results)]


def _answers(plan: EvaluationPlan, interviewer: Interviewer) -> Generator[tuple[int, LoggedAnswer | FailedAnswer]]:
    """Numbers of rows and their answers, as they come."""
    if plan.subject.concurrency == 1:  # in this thread, which is where a teacher's loop is
        for number, row in enumerate(plan.rows):
            yield number, interviewer.ask(_question(plan, row))
        return
    rows = enumerate(plan.rows)
    with ThreadPoolExecutor(plan.subject.concurrency, thread_name_prefix="evaluate") as asking:

        def asked(count: int) -> dict[Future[LoggedAnswer | FailedAnswer], int]:
            return {asking.submit(interviewer.ask, _question(plan, row)): number for number, row in islice(rows, count)}

        running = asked(plan.subject.concurrency)
        try:
            while running:
                for answered in wait(running, return_when=FIRST_COMPLETED).done:
                    number, answer = running.pop(answered), answered.result()
                    running |= asked(1)
                    yield number, answer
        finally:
            interviewer.end()


def _question(plan: EvaluationPlan, row: EvaluationRow) -> Question:
    return Question(
        messages=tuple(plan.role.messages(row.inputs, plan.guidance)),
        grammar=plan.role.grammar(row.inputs) if plan.subject.constraint == ROLE_GRAMMAR else "",
        max_tokens=plan.subject.max_tokens,
        temperature=plan.subject.temperature,
        seed=plan.subject.seed,
        cache_prompt=plan.subject.concurrency > 1,
        inputs=row.inputs,
    )


def _progress(results: Sequence[RowResult], total: int, elapsed_seconds: float) -> Progress:
    done = len(results)
    figures = evaluation_of(results)
    return Progress(
        stage="evaluate",
        message="asking the student",
        done=done,
        total=total,
        unit="rows",
        figures={
            "score_mean": figures.scores.mean,
            "valid_rate": figures.valid_rate,
            "median_seconds": figures.median_seconds,
            "tokens_per_second": figures.tokens_per_second,
            "failed": sum(1 for result in results if result.failure),
        },
        eta_seconds=elapsed_seconds / done * (total - done),
    )


def _comparison(plan: EvaluationPlan) -> Comparison:
    return Comparison(plan.reference_score, None if plan.baseline is None else plan.baseline.mean)


def _measured(plan: EvaluationPlan, subject: Subject, results: Sequence[RowResult]) -> Measured:
    evaluation = evaluation_of(results)
    verdicts = decide(plan.gates, evaluation, _comparison(plan))
    shortfall = gap(evaluation.scores.mean, plan.reference_score)
    comparison = comparison_document(
        mean=evaluation.scores.mean,
        gap=shortfall,
        reference_score=plan.reference_score,
        reference_source=plan.reference_source,
        baseline=plan.baseline,
    )
    document = summary_document(subject, evaluation, results, comparison, verdicts)
    return Measured(evaluation, results, shortfall, verdicts, document)
