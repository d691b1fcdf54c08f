"""Paid once: log, shared calls and stopping around a scripted teacher, in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scripted_teacher import ScriptedTeacher, VirtualClock, after, answer, ask_all, in_turn, paid, question
from stillhouse.artifacts.answers import AnswerLog, AnswerQuery, LoggedAnswer
from stillhouse.artifacts.store import Store
from stillhouse.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from stillhouse.teachers.figures import CallEvent, EventKind
from stillhouse.teachers.pacing import Pace, Pacer
from stillhouse.teachers.teacher import Answer, FinishReason, Question


def test_an_answer_is_paid_once_and_then_comes_from_the_log(clock: VirtualClock, log: AnswerLog) -> None:
    teacher = ScriptedTeacher(after(clock, 2.0, answer("yes", thinking_tokens=5)))
    first, again = paid(teacher, clock, log=log), paid(teacher, clock, log=log)
    [one] = clock.run(ask_all(first, question()))
    [two] = clock.run(ask_all(again, question()))
    assert one == two
    assert (one.text, one.finish_reason, one.latency_seconds) == ("yes", "stop", 2.0)
    assert one.cost_usd == pytest.approx((10 * 1.0 + 25 * 10.0) / 1e6)
    assert one.extra["thinking_tokens"] == "5"
    assert one.extra["asked_at"].endswith("+00:00")
    assert len(teacher.asked) == 1
    assert (first.figures.calls, first.figures.from_log, again.figures.calls, again.figures.from_log) == (1, 0, 0, 1)
    assert again.figures.log_cost_usd == pytest.approx(one.cost_usd)
    assert teacher.closed


def test_what_changes_the_answer_changes_the_key(clock: VirtualClock) -> None:
    asked = paid(ScriptedTeacher(in_turn(answer())), clock)
    variants = [
        question(),
        question("else"),
        question(max_output_tokens=101),
        question(temperature=0.1),
        question(seed=1),
        question(thinking_budget=0),
        question(response_schema={"type": "string"}),
        question(response_schema={"type": "number"}),
    ]
    digests = {asked.query(each).digest() for each in variants} | {asked.query(question(), 1).digest()}
    assert len(digests) == len(variants) + 1


def test_equal_questions_asked_at_once_make_one_call(clock: VirtualClock, log: AnswerLog) -> None:
    teacher = ScriptedTeacher(after(clock, 1.0))
    answers = clock.run(ask_all(paid(teacher, clock, log=log), *[question()] * 5, question("other")))
    assert len(teacher.asked) == 2
    assert len({each.extra["asked_at"] for each in answers[:5]}) == 1


def test_another_attempt_is_another_call(clock: VirtualClock, log: AnswerLog) -> None:
    teacher = ScriptedTeacher(in_turn(answer("first"), answer("second")))
    asked = paid(teacher, clock, log=log)

    async def work() -> list[str]:
        return [(await asked.ask(question(), attempt=attempt)).text for attempt in (0, 1, 0)]

    assert clock.run(work()) == ["first", "second", "first"]


def test_an_answer_is_in_the_log_before_it_is_counted(clock: VirtualClock, log: AnswerLog) -> None:
    kept_when_told: list[bool] = []

    def on_event(event: CallEvent) -> None:
        assert event.kind is EventKind.ANSWERED
        kept_when_told.append(log.get(asked.query(question())) is not None)

    asked = paid(ScriptedTeacher(in_turn(answer())), clock, log=log, on_event=on_event)
    clock.run(ask_all(asked, question()))
    assert kept_when_told == [True]


def test_bad_endings_are_kept_with_their_reason(clock: VirtualClock, log: AnswerLog) -> None:
    blocked = Answer("", FinishReason.BLOCKED, 10, 0, detail="SAFETY: HARM_CATEGORY_HARASSMENT")
    teacher = ScriptedTeacher(in_turn(blocked))
    [kept] = clock.run(ask_all(paid(teacher, clock, log=log), question()))
    assert (kept.finish_reason, kept.extra["detail"]) == ("blocked", blocked.detail)
    clock.run(ask_all(paid(teacher, clock, log=log), question()))
    assert len(teacher.asked) == 1


@pytest.mark.parametrize("error", [PermissionDenied("log in"), InvalidArgument("too long")])
def test_what_will_not_pass_is_raised_at_once(clock: VirtualClock, error: Exception) -> None:
    teacher = ScriptedTeacher(in_turn(error))
    events: list[EventKind] = []
    asked = paid(teacher, clock, on_event=lambda event: events.append(event.kind))
    with pytest.raises(type(error)):
        clock.run(ask_all(asked, question()))
    assert len(teacher.asked) == 1
    assert events == [EventKind.FAILED]


def test_an_error_of_the_store_goes_to_who_asked_and_is_not_retried(clock: VirtualClock, tmp_path: Path) -> None:
    class FullLog(AnswerLog):
        def put(self, query: AnswerQuery, answer: LoggedAnswer) -> LoggedAnswer:
            raise ResourceExhausted("disk full: free some space")

    teacher = ScriptedTeacher(in_turn(answer()))
    asked = paid(teacher, clock, log=FullLog(Store.open(f"memory://{tmp_path}")))
    with pytest.raises(ResourceExhausted, match="disk full"):
        clock.run(ask_all(asked, question()))
    assert len(teacher.asked) == 1
    assert asked.figures.calls == 0


def test_a_cancelled_question_still_gets_its_answer_into_the_log(clock: VirtualClock, log: AnswerLog) -> None:
    given_up = asyncio.Event()

    async def script(_: Question) -> Answer:
        await given_up.wait()
        return answer()

    teacher = ScriptedTeacher(script)
    asked = paid(teacher, clock, log=log)

    async def work() -> None:
        # Asked again meanwhile, and given up again: the same call serves.
        for _ in range(3):
            asking = asyncio.ensure_future(asked.ask(question()))
            await asyncio.sleep(0)
            while not teacher.in_flight:
                await asyncio.sleep(0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        given_up.set()
        await asked.close()

    clock.run(work())
    assert len(teacher.asked) == 1
    assert log.get(asked.query(question())) is not None


def test_who_asks_again_during_a_call_that_was_given_up_has_it_made_again_if_it_fails(clock: VirtualClock) -> None:
    outcomes = in_turn(Unavailable("gone"), answer())

    async def script(asked: Question) -> Answer:
        await clock.sleep(5.0)
        return await outcomes(asked)

    teacher = ScriptedTeacher(script)
    asked = paid(teacher, clock)

    async def work() -> LoggedAnswer:
        given_up = asyncio.ensure_future(asked.ask(question()))
        while not teacher.in_flight:
            await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        return await asked.ask(question())

    assert clock.run(work()).text == "It is."
    assert len(teacher.asked) == 2


def test_one_of_two_who_wait_may_go(clock: VirtualClock) -> None:
    teacher = ScriptedTeacher(in_turn(Unavailable("gone"), answer()))
    asked = paid(teacher, clock)

    async def work() -> LoggedAnswer:
        first, second = (asyncio.ensure_future(asked.ask(question())) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert clock.run(work()).text == "It is."


def test_draining_waits_for_calls_under_way_and_starts_no_more(clock: VirtualClock, log: AnswerLog) -> None:
    teacher = ScriptedTeacher(after(clock, 5.0))
    asked = paid(teacher, clock, log=log, pacer=Pacer(Pace(concurrency=3), clock))

    async def work() -> list[LoggedAnswer | BaseException]:
        asking = [asyncio.ensure_future(asked.ask(question(str(number)))) for number in range(10)]
        while asked.figures.in_flight < 3:
            await asyncio.sleep(0)
        await asked.drain()
        assert asked.figures.in_flight == 0
        with pytest.raises(Cancelled):
            await asked.ask(question("late"))
        return await asyncio.gather(*asking, return_exceptions=True)

    outcomes = clock.run(work())
    answered = [number for number, each in enumerate(outcomes) if isinstance(each, LoggedAnswer)]
    assert len(answered) == len(teacher.asked) == 3
    assert all(log.get(asked.query(question(str(number)))) for number in answered)
    assert sum(isinstance(each, Cancelled) for each in outcomes) == 7


def test_figures_and_events_tell_the_same(clock: VirtualClock) -> None:
    outcomes = (ResourceExhausted("quota"), Unavailable("gone"), DeadlineExceeded("slow"), answer(thinking_tokens=3))
    events: list[CallEvent] = []
    asked = paid(ScriptedTeacher(in_turn(*outcomes)), clock, on_event=events.append)
    clock.run(ask_all(asked, question()))
    assert [each.kind for each in events] == [
        EventKind.THROTTLED,
        EventKind.UNAVAILABLE,
        EventKind.DEADLINE,
        EventKind.ANSWERED,
    ]
    figures = asked.figures
    assert (figures.throttled, figures.unavailable, figures.deadlines, figures.calls) == (1, 1, 1, 1)
    assert (figures.prompt_tokens, figures.output_tokens, figures.in_flight) == (10, 23, 0)
    assert figures.cost_usd == pytest.approx(events[-1].cost_usd)
    assert figures.concurrency_limit == 4


def test_throughput_is_concurrency_by_latency(clock: VirtualClock) -> None:
    asked = paid(ScriptedTeacher(after(clock, 10.0)), clock, pacer=Pacer(Pace(concurrency=16), clock))
    before = clock.now()
    clock.run(ask_all(asked, *(question(str(number)) for number in range(320))))
    assert 320 / (clock.now() - before) >= 0.95 * 16 / 10


def test_text_that_is_no_unicode_is_refused(clock: VirtualClock) -> None:
    with pytest.raises(InvalidArgument):
        clock.run(ask_all(paid(ScriptedTeacher(in_turn(answer())), clock), question("\ud800")))
