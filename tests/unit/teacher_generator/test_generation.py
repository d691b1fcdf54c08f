"""The generation with a scripted asker: which records there are, in which order, whatever the answers' order is."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from threading import Event

import pytest

from generation_fixture import (
    GOOD,
    POOR,
    Run,
    ScriptedAsker,
    always,
    asked_about,
    concepts,
    good_for,
    logged,
    stage,
)
from quiz_role import QuizRole
from stillhouse.artifacts.answers import LoggedAnswer
from stillhouse.errors import Cancelled, InvalidArgument, PermissionDenied
from stillhouse.roles.role import Example
from stillhouse.teacher_generator.generation import STOPPING
from stillhouse.teacher_generator.ledger import StageTally
from stillhouse.teacher_generator.options import StageOptions
from stillhouse.teachers.dialogue import inputs_digest
from stillhouse.teachers.teacher import Question


async def until_finishing(asker: ScriptedAsker) -> None:
    while not asker.finished:
        await asyncio.sleep(0.001)


def test_lines_are_in_the_order_of_the_concepts_whatever_order_answers_come_in() -> None:
    shuffled = random.Random(1)

    async def slowly(_: Question) -> LoggedAnswer:
        await asyncio.sleep(shuffled.uniform(0, 0.02))
        return logged(GOOD)

    run = Run([stage(records=40)], {"s": ScriptedAsker(slowly, width=8)}, concepts(60))
    [tally] = run.run()
    assert run.asked == [f"q{number}" for number in range(1, 41)]
    assert (tally.accepted, tally.attempted, tally.ended) == (40, 40, "target reached")


def test_the_same_answers_give_the_same_bytes_however_many_are_asked_at_a_time() -> None:
    def text_with(width: int) -> str:
        run = Run([stage(records=10)], {"s": good_for(*range(1, 60, 2))}, concepts(60))
        run.askers["s"].width = width
        run.run()
        return run.text

    assert text_with(1) == text_with(7) == text_with(50)


def test_a_slow_answer_in_front_keeps_nobody_behind_it_from_asking() -> None:
    others = asyncio.Event()

    async def first_waits(question: Question) -> LoggedAnswer:
        if asked_about(question) == "q1":
            await others.wait()
        elif asked_about(question) == "q20":
            others.set()
        return logged(GOOD)

    run = Run([stage(records=20)], {"s": ScriptedAsker(first_waits, width=4)}, concepts(20))
    run.run()
    assert run.asked == [f"q{number}" for number in range(1, 21)]


def test_no_more_are_asked_about_at_a_time_than_the_asker_is_wide() -> None:
    async def soon(_: Question) -> LoggedAnswer:
        await asyncio.sleep(0.001)
        return logged(GOOD)

    asker = ScriptedAsker(soon, width=5)
    Run([stage()], {"s": asker}, concepts(50)).run()
    assert asker.most_in_flight == 5


def test_the_target_is_reached_exactly_and_surplus_answers_are_waited_for() -> None:
    surplus = asyncio.Event()

    async def fifth_is_late(question: Question) -> LoggedAnswer:
        if asked_about(question) == "q4":
            await surplus.wait()
        if asked_about(question) == "q5":
            surplus.set()
            await until_finishing(asker)
        return logged(GOOD if asked_about(question) in ("q1", "q4", "q5") else POOR)

    asker = ScriptedAsker(fifth_is_late, width=8)
    run = Run([stage(records=2)], {"s": asker}, concepts(30))
    run.run()
    assert run.asked == ["q1", "q4"]
    assert asker.kept == len(asker.asked) == 5
    assert asker.in_flight == 0


def test_near_the_target_no_more_are_asked_about_than_it_takes() -> None:
    async def soon(_: Question) -> LoggedAnswer:
        await asyncio.sleep(0.001)
        return logged(GOOD)

    asker = ScriptedAsker(soon, width=16)
    Run([stage(records=20)], {"s": asker}, concepts(100)).run()
    assert len(asker.asked) == 20


def test_a_request_to_stop_keeps_what_is_in_flight_and_starts_nothing_more() -> None:
    stopping = Event()

    heard: list[tuple[str, int]] = []

    async def stop_at_seven(question: Question) -> LoggedAnswer:
        if asked_about(question) == "q7":
            stopping.set()
        if stopping.is_set():
            await until_finishing(asker)
        return logged(GOOD)

    asker = ScriptedAsker(stop_at_seven, width=4)
    run = Run(
        [stage()],
        {"s": asker},
        concepts(100),
        stopping=stopping,
        on_progress=lambda tally, _: heard.append((tally.ended, asker.in_flight)),
    )
    with pytest.raises(Cancelled, match="the same command goes on"):
        run.run()
    assert heard[-1] == (STOPPING, 2)
    assert asker.questions == [f"q{number}" for number in range(1, 9)]
    assert asker.kept == len(asker.asked)
    assert run.asked == [f"q{number}" for number in range(1, len(run.asked) + 1)]


def test_a_request_to_stop_is_heard_while_all_answers_come_from_the_log() -> None:
    stopping = Event()
    run = Run(
        [stage()],
        {"s": always()},
        concepts(500),
        stopping=stopping,
        on_progress=lambda tally, _: stopping.set() if tally.attempted == 10 else None,
    )
    with pytest.raises(Cancelled):
        run.run()
    assert len(run.asked) == 10


def test_an_error_of_one_dialogue_settles_earlier_ones_keeps_what_is_in_flight_and_is_raised() -> None:
    async def third_is_refused(question: Question) -> LoggedAnswer:
        if asked_about(question) == "q3":
            raise PermissionDenied("the credential has expired; log in again")
        await asyncio.sleep(0.02)
        return logged(GOOD)

    asker = ScriptedAsker(third_is_refused, width=6)
    run = Run([stage()], {"s": asker}, concepts(50))
    with pytest.raises(PermissionDenied, match="log in again"):
        run.run()
    assert run.asked == ["q1", "q2"]
    assert asker.finished
    assert asker.kept == len(asker.asked) - 1
    assert len(asker.asked) == 6


def test_a_concept_without_requirements_is_completed_before_it_is_asked_about() -> None:
    class Hinting(QuizRole):
        def complete(self, example, *, seed):
            return Example({**example.inputs, "hint": f"hint {seed}"}, {**example.labels, "hinted": "yes"})

    run = Run([stage()], {"s": always()}, concepts(2), role=Hinting())
    run.run()
    assert [(row["hint"], row["hinted"]) for row in run.records] == [("hint 42", "yes")] * 2


def test_a_concept_that_cannot_be_completed_is_named() -> None:
    class Helpless(QuizRole):
        def complete(self, example, *, seed):
            raise InvalidArgument("input 'question' says too little", field="question")

    run = Run([stage()], {"s": always()}, concepts(2), role=Helpless())
    with pytest.raises(InvalidArgument, match="concept 1: input 'question' says too little"):
        run.run()


def test_records_that_are_there_already_gain_no_line_and_count() -> None:
    present = Counter({inputs_digest({"question": f"q{number}"}): 1 for number in (1, 2, 3)})
    run = Run([stage(until=5)], {"s": always()}, concepts(10), present=present)
    [tally] = run.run()
    assert run.asked == ["q4", "q5"]
    assert (tally.accepted, run.ledger.records) == (5, 5)


def test_a_concept_that_a_retry_answered_is_no_dead_letter_again() -> None:
    present = Counter({inputs_digest({"question": "q2"}): 1})
    run = Run([stage()], {"s": good_for(1)}, concepts(3), present=present)
    run.run()
    assert [letter["inputs"]["question"] for letter in run.dead_letters] == ["q3"]


def test_guards_refuse_what_is_generated() -> None:
    asker = ScriptedAsker(lambda _: logged("ANSWER: A FULL ANSWER / COMMENT: loud"))
    run = Run([stage()], {"s": asker}, concepts(1), guards=("shouting",))
    run.run()
    assert run.records == []
    assert run.dead_letters[0]["reason"] == "guard:shouting"


def test_progress_is_told_while_nothing_settles() -> None:
    heard: list[int] = []
    heard_twice = asyncio.Event()

    def hear(tally: StageTally, _: StageOptions) -> None:
        heard.append(tally.attempted)
        if heard.count(0) == 2:
            heard_twice.set()

    async def once_heard(_: Question) -> LoggedAnswer:
        await heard_twice.wait()
        return logged(GOOD)

    run = Run([stage(records=1)], {"s": ScriptedAsker(once_heard)}, concepts(1), on_progress=hear)
    run.run()
    assert heard[-1] == 1
