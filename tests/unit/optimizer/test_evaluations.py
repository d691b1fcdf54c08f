"""What is made of DSPy's evaluations: means of rows, failed rows by reason, the best program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import dspy
import pytest
from dspy import lm15

from scripted_subject import (
    QuizPair,
    QuizPredict,
    ScriptedSubject,
    in_fields,
    quiz_rows,
    quiz_search,
    scripted_lm,
)
from stillhouse.artifacts.answers import AnswerLog
from stillhouse.artifacts.store import Store
from stillhouse.optimizer.compiling import compile_program
from stillhouse.optimizer.evaluations import NO_ANSWER, REFUSED, TOO_LONG, UNREADABLE, Evaluations
from stillhouse.optimizer.journal import Journal, RunEnded, installed
from stillhouse.optimizer.options import Optimizer
from stillhouse.optimizer.proposing import ProposalAdapter

GOOD = in_fields({"answer": "1234567890", "comment": "good"})
POOR = in_fields({"answer": "12345", "comment": "good"})
Answer = Callable[[str], str]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(AnswerLog(Store.open(str(tmp_path / "store"))))


class Told:
    """Rows done of rows in all, as they were told."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []

    def __call__(self, evaluations: Evaluations, done: int, total: int) -> None:
        self.steps.append((done, total))


def evaluated(
    journal: Journal,
    answer: Answer,
    rows: Sequence[dspy.Example],
    *,
    validation: Sequence[dspy.Example] | None = None,
    program: dspy.Module | None = None,
    told: Told | None = None,
    threads: int = 2,
) -> Evaluations:
    """One evaluation of a program whose model answers by the question."""

    def script(text: str, fields: Sequence[str]) -> str:
        return answer(text)

    evaluations = Evaluations(rows if validation is None else validation, told or Told())
    plan = quiz_search(journal, ScriptedSubject(script))
    with (
        installed(journal),
        dspy.context(lm=plan.models.task, callbacks=[evaluations], adapter=ProposalAdapter(), disable_history=True),
    ):
        evaluate = dspy.Evaluate(devset=list(rows), metric=plan.scoring.score, num_threads=threads, max_errors=1000)
        evaluate(program or QuizPredict())
    return evaluations


def by_question(answers: dict[str, str | Exception], otherwise: str = GOOD) -> Answer:
    def answer(text: str) -> str:
        for part, said in answers.items():
            if f"What is {part} and one" in text:
                if isinstance(said, Exception):
                    raise said
                return said
        return otherwise

    return answer


def test_the_score_is_the_mean_of_all_rows_within_0_and_1(journal: Journal) -> None:
    told = Told()
    found = evaluated(journal, by_question({"3": POOR}), quiz_rows(4), told=told)
    (evaluation,) = found.finished
    assert (evaluation.rows, evaluation.score, evaluation.valid_rate) == (4, (3 + 0.5) / 4, 1.0)
    assert evaluation.failures == {}
    assert told.steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_rows_without_an_answer_count_nothing_and_are_counted_by_reason(journal: Journal) -> None:
    answers: dict[str, str | Exception] = {
        "0": "",
        "1": "I would rather not.",
        "2": in_fields({"answer": "half"}),
        "3": lm15.ContextLengthError("too long"),
        "4": lm15.InvalidRequestError("no such thing"),
    }
    (evaluation,) = evaluated(journal, by_question(answers), quiz_rows(8)).finished
    assert evaluation.failures == {NO_ANSWER: 1, UNREADABLE: 2, TOO_LONG: 1, REFUSED: 1}
    assert (evaluation.score, evaluation.valid_rate) == (3 / 8, 3 / 8)
    assert evaluation.first_failure


def test_equal_rows_are_rows_each(journal: Journal) -> None:
    row = quiz_rows(1)
    (evaluation,) = evaluated(journal, lambda text: "", [*row, *row, *row]).finished
    assert (evaluation.rows, evaluation.failures, evaluation.valid_rate) == (3, {NO_ANSWER: 3}, 0.0)


def test_a_row_that_dspy_calls_twice_is_counted_once() -> None:
    told = Told()
    rows = quiz_rows(2)
    evaluations = Evaluations(rows, told)
    program = QuizPredict()
    evaluations.on_evaluate_start("e", dspy.Evaluate(devset=rows), {"program": program})
    for call in ("first", "again"):
        evaluations.on_module_start(call, program, {"kwargs": dict(rows[0].inputs().items())})
    for call in ("first", "again"):
        evaluations.on_module_end(call, None, ValueError("late"))
    results = [(row, dspy.Prediction(), 0.0) for row in rows]
    evaluations.on_evaluate_end("e", dspy.Prediction(score=0.0, results=results))
    assert told.steps == [(1, 2)]
    assert evaluations.finished[0].failures == {"ValueError": 1}


def test_every_call_of_a_program_with_two_predictors_is_one_row(journal: Journal) -> None:
    told = Told()

    def answer(text: str) -> str:
        return in_fields({"comment": "good"} if "`comment`" in text else {"answer": "1234567890"})

    (evaluation,) = evaluated(journal, answer, quiz_rows(3), program=QuizPair(), told=told).finished
    assert (evaluation.rows, evaluation.score) == (3, 1.0)
    assert told.steps == [(1, 3), (2, 3), (3, 3)]


def test_only_all_validation_rows_make_a_full_evaluation(journal: Journal) -> None:
    validation = quiz_rows(4)
    part, other = quiz_rows(2), quiz_rows(4, start=50)
    shuffled = [validation[2], validation[0], validation[3], validation[1]]
    full = [
        evaluated(journal, by_question({}), rows, validation=validation).finished[0].full
        for rows in (validation, shuffled, part, other)
    ]
    assert full == [True, True, False, False]


def test_scores_are_kept_in_the_order_of_the_validation_rows(journal: Journal) -> None:
    validation = quiz_rows(4)
    shuffled = [validation[2], validation[0], validation[3], validation[1]]
    poor_second = by_question({"1": POOR})
    (found,) = evaluated(journal, poor_second, shuffled, validation=validation).finished
    assert found.scores == (1.0, 0.5, 1.0, 1.0)
    (part,) = evaluated(journal, poor_second, validation[:2], validation=validation).finished
    assert part.scores == ()


def test_the_best_is_the_earliest_of_equals_among_the_full_ones(journal: Journal) -> None:
    rows = quiz_rows(2)
    found = evaluated(journal, by_question({"0": POOR}), rows)
    first = found.best
    assert first is not None
    better = evaluated(journal, by_question({}), rows[1:], validation=rows).finished[0]
    found.finished += [better, first]
    assert better.score > first.score
    assert found.best is first
    assert Evaluations(rows, Told()).best is None


def test_an_evaluation_that_is_cut_off_is_none(journal: Journal) -> None:
    told = Told()
    rows = quiz_rows(4)
    evaluations = Evaluations(rows, told)

    def script(text: str, fields: Sequence[str]) -> str:
        raise journal.end(RunEnded(None, "max_calls"))

    with (
        installed(journal),
        dspy.context(lm=scripted_lm(ScriptedSubject(script), journal), callbacks=[evaluations]),
        pytest.raises(RunEnded),
    ):
        dspy.Evaluate(devset=rows, metric=lambda *_: 1.0, num_threads=1, max_errors=1000)(QuizPredict())
    assert evaluations.finished == []


def test_a_row_that_is_left_behind_puts_no_further_question(journal: Journal) -> None:
    rows = quiz_rows(1)
    evaluations = Evaluations(rows, Told())

    def script(text: str, fields: Sequence[str]) -> str:
        evaluations.close()
        return in_fields(dict.fromkeys(fields, "said"))

    subject = ScriptedSubject(script)
    with (
        installed(journal),
        dspy.context(lm=scripted_lm(subject, journal), callbacks=[evaluations]),
        pytest.raises(RunEnded),
    ):
        QuizPair()(**rows[0].inputs())
    assert len(subject.asked) == 1


def test_gepas_minibatches_count_unreadable_answers_and_are_never_full(journal: Journal) -> None:
    """It turns an unreadable answer into a result; three training rows are no three validation rows."""

    def script(text: str, fields: Sequence[str]) -> str:
        return "Say it in ten letters." if fields == ["new_instruction"] else by_question({"1": "no", "2": ""})(text)

    validation = quiz_rows(3, start=100)
    evaluations = Evaluations(validation, Told())
    plan = quiz_search(
        journal, ScriptedSubject(script), validation=validation, optimizer=Optimizer.GEPA, validation_rows=3
    )
    with (
        installed(journal),
        dspy.context(lm=plan.models.task, callbacks=[evaluations], adapter=ProposalAdapter(), disable_history=True),
    ):
        compile_program(QuizPredict(), replace(plan, train=quiz_rows(3)))
    full = [each for each in evaluations.finished if each.full]
    minibatches = [each for each in evaluations.finished if not each.full]
    assert {each.score for each in full} == {1.0}
    assert {tuple(sorted(each.failures.items())) for each in minibatches} == {((NO_ANSWER, 1), (UNREADABLE, 1))}
    assert {round(each.score, 3) for each in minibatches} == {0.333}
