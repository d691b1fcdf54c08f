"""A teacher in the place of a student: asked as its stage asks, judged as a student is, paid for once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

from quiz_role import QuizRole
from scripted_teacher import Script, ScriptedTeacher, answer, in_turn
from stillhouse.artifacts.answers import AnswerLog
from stillhouse.artifacts.store import Store
from stillhouse.errors import Cancelled, DeadlineExceeded, InvalidArgument, ResourceExhausted, StillhouseError
from stillhouse.evaluator.asking import FINAL
from stillhouse.evaluator.evaluation import EvaluationPlan, Measured, measure
from stillhouse.evaluator.rows import read_rows
from stillhouse.evaluator.summary import Subject
from stillhouse.evaluator.teacher import TeacherSubject
from stillhouse.teachers.dialogue import Manner, Prompt
from stillhouse.teachers.paid import PaidTeacher
from stillhouse.teachers.patience import Patience
from stillhouse.teachers.prices import Price
from stillhouse.teachers.teacher import Answer, FinishReason, Question
from stillhouse.v1.common_pb2 import Progress

ROWS = [json.dumps({"question": question, "tier": "simple"}) for question in ("Why?", "How?")]
GOOD = "ANSWER: a full answer / COMMENT: good"
HALF = "ANSWER: a full answer"
IMPATIENT = Patience(away_seconds=0.05, deadlines=1, failures=1, first_pause_seconds=0.01, longest_pause_seconds=0.02)


def plan() -> EvaluationPlan:
    role = QuizRole()
    subject = Subject(
        role="quiz",
        role_version=role.version,
        model_sha256="",
        validation_sha256="v" * 64,
        constraint="none",
        max_tokens=100,
        temperature=0.7,
        seed=42,
        metric="",
    )
    return EvaluationPlan(role=role, metric=None, rows=list(read_rows(ROWS, role, source="rows")), subject=subject)


@contextmanager
def subject_of(
    teacher: ScriptedTeacher, *, log: AnswerLog | None = None, stopping: Event | None = None
) -> Iterator[TeacherSubject]:
    manner = Manner(Prompt.PLAIN, 100, 0.7, None, 1)
    with asyncio.Runner() as runner:

        async def opened() -> PaidTeacher:
            return PaidTeacher(teacher, log=log, price=Price(1.0, 1.0), patience=IMPATIENT)

        paid = runner.run(opened())
        try:
            yield TeacherSubject(paid, QuizRole(), manner, runner, stopping or Event())
        finally:
            runner.run(paid.close())


def measured_with(script: Script, **options: Event) -> tuple[Measured, ScriptedTeacher]:
    teacher = ScriptedTeacher(script)
    with subject_of(teacher, **options) as subject:
        return measure(plan(), subject, patience=FINAL, **options), teacher


def test_a_good_answer_is_taken_verbatim_and_costs_one_call_a_row() -> None:
    measured, teacher = measured_with(in_turn(answer(GOOD)))
    assert measured.evaluation.scores.mean == 1.0
    assert [result.answer for result in measured.results] == [GOOD, GOOD]
    assert len(teacher.asked) == 2
    assert {asked.seed for asked in teacher.asked} == {42}
    assert {asked.max_output_tokens for asked in teacher.asked} == {100}


def test_a_broken_answer_is_repaired_once_as_in_the_data_set() -> None:
    measured, teacher = measured_with(in_turn(answer(HALF), answer(GOOD), answer(GOOD)))
    assert len(teacher.asked) == 3
    assert measured.evaluation.valid_rate == 1.0
    assert measured.results[0].completion_tokens == 40


def test_an_answer_that_stays_broken_is_judged_for_what_it_has_and_not_asked_for_again() -> None:
    measured, teacher = measured_with(in_turn(answer(HALF)))
    assert len(teacher.asked) == 4
    assert measured.evaluation.valid_rate == 0.0
    assert [result.answer.startswith(HALF) for result in measured.results] == [True, True]


def test_a_blocked_answer_counts_as_a_row_without_text() -> None:
    blocked = Answer("", FinishReason.BLOCKED, 10, 0, detail="SAFETY")
    measured, _ = measured_with(in_turn(blocked, answer(GOOD)))
    assert [result.score for result in measured.results] == [0.0, 1.0]
    assert measured.results[0].finish_reason == "blocked"


def test_a_refused_question_and_one_that_runs_out_of_time_are_failed_rows() -> None:
    measured, teacher = measured_with(in_turn(InvalidArgument("too long"), answer(GOOD)))
    assert measured.document["failed_rows"] == {"refused": 1}
    measured, teacher = measured_with(in_turn(DeadlineExceeded("300 s"), answer(GOOD)))
    assert measured.document["failed_rows"] == {"deadline exceeded": 1}
    assert len(teacher.asked) == 2


@pytest.mark.parametrize("error", [ResourceExhausted("quota"), ResourceExhausted("quota", retry_after_seconds=0.01)])
def test_a_teacher_that_stays_throttled_ends_the_evaluation_and_is_no_score_of_zero(error: StillhouseError) -> None:
    with pytest.raises(ResourceExhausted):
        measured_with(in_turn(error))


def test_answers_of_an_earlier_evaluation_are_not_paid_for_again(tmp_path: Path) -> None:
    log = AnswerLog(Store.open(str(tmp_path)))
    for asked in (2, 0):
        teacher = ScriptedTeacher(in_turn(answer(GOOD)))
        seen: list[Progress] = []
        with subject_of(teacher, log=log) as subject:
            measured = measure(plan(), subject, report=subject.reporting(seen.append), patience=FINAL)
            assert subject.cost_usd == pytest.approx(2 * 30e-6)
        assert len(teacher.asked) == asked
        assert measured.evaluation.scores.mean == 1.0
        assert seen[-1].message == "asking the teacher"
        assert seen[-1].figures["from_log"] == 2 - asked
        assert seen[-1].figures["cost_usd"] == pytest.approx(2 * 30e-6)


def test_a_stop_keeps_the_answer_that_is_under_way(tmp_path: Path) -> None:
    log, stopping = AnswerLog(Store.open(str(tmp_path))), Event()

    async def script(_: Question) -> Answer:
        stopping.set()
        await asyncio.sleep(0.5)
        return answer(GOOD)

    first = ScriptedTeacher(script)
    with pytest.raises(Cancelled), subject_of(first, log=log, stopping=stopping) as subject:
        measure(plan(), subject, stopping=stopping, patience=FINAL)
    second = ScriptedTeacher(in_turn(answer(GOOD)))
    with subject_of(second, log=log) as subject:
        measure(plan(), subject, patience=FINAL)
    assert (len(first.asked), len(second.asked)) == (1, 1)
