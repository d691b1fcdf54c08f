"""Rows asked several at a time: the same evaluation, sooner; seconds under one load are not those under another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Barrier, Event

import pytest

from scripted_student import ScriptedStudent
from stillhouse.artifacts.answers import AnswerLog
from stillhouse.artifacts.store import Store
from stillhouse.errors import InvalidArgument, PermissionDenied, Unavailable
from stillhouse.evaluator.asking import Patience
from stillhouse.evaluator.evaluation import EvaluationPlan, measure
from stillhouse.v1.evaluator_pb2 import Gate
from unit.evaluator.test_evaluate_stage import GOOD, LINES, QUESTIONS, plan

UNREADABLE = "no idea"


def at_a_time(count: int, **values: object) -> EvaluationPlan:
    made = plan(**values)  # type: ignore[arg-type]
    return replace(made, subject=replace(made.subject, concurrency=count))


def test_rows_are_asked_at_the_same_time_and_reported_in_their_order() -> None:
    together, last_is_done = Barrier(4), Event()

    def script(text: str) -> str:
        together.wait(timeout=30)
        if text == QUESTIONS[-1]:
            last_is_done.set()
            return UNREADABLE
        assert last_is_done.wait(timeout=30)
        return GOOD

    measured = measure(at_a_time(4), ScriptedStudent(script))

    assert [result.inputs["question"] for result in measured.results] == QUESTIONS
    assert [result.valid for result in measured.results] == [True, True, True, False]
    assert measured.document["concurrency"] == 4


@pytest.mark.parametrize(("count", "shared"), [(1, False), (2, True)])
def test_the_cache_is_used_where_no_seconds_are_measured(count: int, shared: bool) -> None:
    student = ScriptedStudent(lambda text: GOOD)
    measure(at_a_time(count), student)
    assert {question.cache_prompt for question in student.asked} == {shared}


def test_an_error_ends_it_and_what_waits_is_not_asked() -> None:
    def script(text: str) -> str:
        raise PermissionDenied("the token is wrong")

    student = ScriptedStudent(script)
    with pytest.raises(PermissionDenied, match="the token is wrong"):
        measure(at_a_time(2, lines=LINES * 50), student)
    assert len(student.asked) <= 2


def test_an_error_ends_the_patience_with_which_others_are_asked() -> None:
    refused = Event()

    def script(text: str) -> str:
        if text == QUESTIONS[0]:
            assert refused.wait(timeout=30)
            raise PermissionDenied("the token is wrong")
        refused.set()
        raise Unavailable("it is away")

    with pytest.raises(PermissionDenied):
        measure(at_a_time(2), ScriptedStudent(script), patience=Patience(away_seconds=3600))


def test_an_error_of_the_metric_ends_it_too() -> None:
    def metric(*_: object) -> float:
        raise ZeroDivisionError

    student = ScriptedStudent(lambda text: GOOD)
    with pytest.raises(ZeroDivisionError):
        measure(replace(at_a_time(2, lines=LINES * 50), metric=metric), student)
    assert len(student.asked) <= 4


def test_answers_of_another_load_are_asked_anew(tmp_path: Path) -> None:
    log, student = AnswerLog(Store.open(str(tmp_path))), ScriptedStudent(lambda text: GOOD)
    for count, asked in ((1, 4), (2, 8), (2, 8), (1, 8)):
        measure(at_a_time(count), student, log=log)
        assert len(student.asked) == asked


@pytest.mark.parametrize("count", [0, 65])
def test_a_concurrency_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(InvalidArgument, match="within 1 and 64"):
        measure(at_a_time(count), ScriptedStudent(lambda text: GOOD))


def test_a_bound_on_seconds_needs_one_request_in_flight() -> None:
    student = ScriptedStudent(lambda text: GOOD)
    gate = Gate(figure="median_seconds", max=10)
    assert measure(at_a_time(1, gates=(gate,)), student).passed
    with pytest.raises(InvalidArgument, match="one request in flight"):
        measure(at_a_time(2, gates=(gate,)), student)
