"""What passes is waited for, with patience that ends: retries around a scripted teacher, in virtual time."""

from __future__ import annotations

import asyncio
import random
import re

import pytest

from scripted_teacher import ScriptedTeacher, VirtualClock, answer, ask_all, in_turn, paid, question
from stillhouse.errors import DeadlineExceeded, ResourceExhausted, TemporaryError, Unavailable
from stillhouse.teachers.pacing import Pace, Pacer
from stillhouse.teachers.patience import Patience
from stillhouse.teachers.teacher import Answer, Question


def test_throttled_calls_wait_as_long_as_the_server_says(clock: VirtualClock) -> None:
    teacher = ScriptedTeacher(in_turn(ResourceExhausted("quota", retry_after_seconds=7.0), answer()))
    asked = paid(teacher, clock)
    before = clock.now()
    clock.run(ask_all(asked, question()))
    assert 7.0 <= clock.now() - before <= 7.0 * 1.2
    assert (asked.figures.throttled, asked.figures.calls) == (1, 1)


def test_half_of_all_calls_throttled_ends_well(clock: VirtualClock) -> None:
    rng = random.Random(1)

    async def script(_: Question) -> Answer:
        await clock.sleep(0.1)
        if rng.random() < 0.5:
            raise ResourceExhausted("quota", retry_after_seconds=0.5)
        return answer()

    teacher = ScriptedTeacher(script)
    asked = paid(teacher, clock)
    answers = clock.run(ask_all(asked, *(question(str(number)) for number in range(200))))
    assert len(answers) == 200
    assert asked.figures.calls == 200
    assert asked.figures.throttled == len(teacher.asked) - 200 > 100


def test_a_server_gone_for_a_minute_is_waited_for(clock: VirtualClock) -> None:
    back_at = clock.now() + 60

    async def script(_: Question) -> Answer:
        if clock.now() < back_at:
            raise Unavailable("connection refused")
        return answer()

    asked = paid(ScriptedTeacher(script), clock)
    answers = clock.run(ask_all(asked, *(question(str(number)) for number in range(20))))
    assert len(answers) == 20
    assert clock.now() < back_at + 35
    assert asked.figures.unavailable > 20


def test_a_server_that_stays_away_is_given_up_after_five_minutes(clock: VirtualClock) -> None:
    asked = paid(ScriptedTeacher(in_turn(Unavailable("connection refused"))), clock)
    before = clock.now()
    with pytest.raises(Unavailable, match=r"scripted:model has not answered any call.*connection refused.*are kept"):
        clock.run(ask_all(asked, question()))
    assert 300 <= clock.now() - before <= 340


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Unavailable("scripted:model: refused", retry_after_seconds=8.0), r"is unavailable \({}.*endpoint.*: refused"),
        (ResourceExhausted("quota", retry_after_seconds=8.0), r"refuses calls for want of quota \({}.*higher quota.*"),
        (DeadlineExceeded("slow", retry_after_seconds=8.0), r"does not answer in time \({}.*more seconds.*: slow"),
    ],
)
def test_the_figures_say_what_keeps_a_call_from_its_answer_and_what_helps(
    clock: VirtualClock, error: TemporaryError, words: str
) -> None:
    troubles: list[str] = []

    async def script(_: Question) -> Answer:
        troubles.append(asked.figures.trouble)
        if len(troubles) < 3:
            raise error
        return answer()

    asked = paid(ScriptedTeacher(script), clock)
    clock.run(ask_all(asked, question()))
    assert troubles[0] == asked.figures.trouble == ""
    for trouble, times in zip(troubles[1:], ("once", "2 times"), strict=True):
        assert re.fullmatch("scripted:model .*" + words.format(f"{times} so far\\), trying again in [89] s"), trouble)


def test_patience_lasts_while_other_calls_succeed(clock: VirtualClock) -> None:
    throttled = 0

    async def script(each: Question) -> Answer:
        nonlocal throttled
        await clock.sleep(20.0)
        if each.messages[-1].content == "unlucky" and clock.now() < 1500:
            throttled += 1
            raise ResourceExhausted("quota", retry_after_seconds=1.0)
        return answer()

    asked = paid(ScriptedTeacher(script), clock, pacer=Pacer(Pace(concurrency=2), clock))

    async def work() -> None:
        unlucky = asyncio.ensure_future(asked.ask(question("unlucky")))
        for number in range(40):
            await asked.ask(question(str(number)))
        await unlucky

    clock.run(work())
    assert throttled > 10


def test_a_quota_that_stays_used_up_ends_the_question(clock: VirtualClock) -> None:
    asked = paid(ScriptedTeacher(in_turn(ResourceExhausted("quota", retry_after_seconds=40.0))), clock)
    with pytest.raises(ResourceExhausted, match=r"refused every call.*higher quota"):
        clock.run(ask_all(asked, question()))


@pytest.mark.parametrize("kind", [ResourceExhausted, Unavailable])
def test_a_retry_after_beyond_all_patience_is_not_waited_for(clock: VirtualClock, kind: type[TemporaryError]) -> None:
    asked = paid(ScriptedTeacher(in_turn(kind("closed today", retry_after_seconds=40_000.0))), clock)
    before = clock.now()
    with pytest.raises(kind, match=r"scripted:model wants no call for 40000 s.*closed today.*are kept") as caught:
        clock.run(ask_all(asked, question()))
    assert clock.now() == before
    assert caught.value.retry_after_seconds == 40_000.0


def test_one_question_that_always_fails_is_given_up_while_others_succeed(clock: VirtualClock) -> None:
    async def script(each: Question) -> Answer:
        await clock.sleep(1.0)
        if each.messages[-1].content == "poison":
            raise Unavailable("internal error")
        return answer()

    teacher = ScriptedTeacher(script)
    asked = paid(teacher, clock, patience=Patience(failures=5), pacer=Pacer(Pace(concurrency=2), clock))

    async def work() -> None:
        others = asyncio.gather(*(asked.ask(question(str(number))) for number in range(200)))
        with pytest.raises(Unavailable, match="failed 5 times on one question"):
            await asked.ask(question("poison"))
        await others

    clock.run(work())


def test_a_question_may_run_out_of_time_three_times(clock: VirtualClock) -> None:
    teacher = ScriptedTeacher(in_turn(DeadlineExceeded("too slow"), DeadlineExceeded("too slow"), answer()))
    asked = paid(teacher, clock)
    clock.run(ask_all(asked, question()))
    assert asked.figures.deadlines == 2
    teacher = ScriptedTeacher(in_turn(DeadlineExceeded("too slow")))
    with pytest.raises(DeadlineExceeded):
        clock.run(ask_all(paid(teacher, clock), question()))
    assert len(teacher.asked) == 3
