"""Pacing: concurrency that adapts, quotas that are used up and not passed, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from scripted_teacher import VirtualClock
from stillhouse.errors import InvalidArgument
from stillhouse.teachers.pacing import Pace, Pacer, pace_of
from stillhouse.v1.teacher_pb2 import TeacherModel


async def _calls(pacer: Pacer, clock: VirtualClock, count: int, *, latency: float, tokens: int = 0) -> list[float]:
    """Makes the calls, as many at a time as may be; when each started."""
    starts: list[float] = []

    async def call() -> None:
        turn = await pacer.start(tokens)
        starts.append(clock.now())
        await clock.sleep(latency)
        turn.succeeded(tokens)

    await asyncio.gather(*(call() for _ in range(count)))
    return starts


def test_a_cap_is_used_from_the_start_and_never_passed() -> None:
    clock = VirtualClock()
    starts = clock.run(_calls(Pacer(Pace(concurrency=10), clock), clock, 200, latency=10.0))
    assert clock.now() - starts[0] == pytest.approx(200 / 10 * 10.0)
    assert starts.count(starts[0]) == 10


@pytest.mark.parametrize("quota", [1, 10, 60, 600, 2400])
def test_a_quota_is_used_to_at_least_95_percent_and_no_minute_passes_it(quota: int) -> None:
    clock = VirtualClock()
    count = max(20, 3 * quota)
    pace = Pace(concurrency=10_000, requests_per_minute=quota)
    starts = clock.run(_calls(Pacer(pace, clock), clock, count, latency=1.0))
    minutes = (starts[-1] - starts[0]) / 60
    assert (count - 1) / minutes >= 0.95 * quota
    for first, later in zip(starts, starts[quota:], strict=False):
        assert later - first >= 60 - 1e-6


def test_a_quota_of_tokens_is_used_and_kept() -> None:
    clock = VirtualClock()
    starts = clock.run(_calls(Pacer(Pace(64, tokens_per_minute=60_000), clock), clock, 120, latency=2.0, tokens=2_000))
    assert 119 * 2_000 / ((starts[-1] - starts[0]) / 60) >= 0.95 * 60_000
    assert starts[31] - starts[0] >= 60


def test_an_estimate_is_corrected_by_what_was_used() -> None:
    clock = VirtualClock()

    async def work() -> float:
        pacer = Pacer(Pace(tokens_per_minute=6000), clock)
        turn = await pacer.start(10)
        turn.succeeded(1010)
        before = clock.now()
        (await pacer.start(10)).failed()
        return clock.now() - before

    assert clock.run(work()) == pytest.approx(10.0, rel=0.1)


def test_a_throttled_call_halves_the_limit_once_a_round_trip() -> None:
    clock = VirtualClock()

    async def work() -> list[int]:
        pacer = Pacer(Pace(concurrency=16), clock)
        turns = [await pacer.start() for _ in range(16)]
        await clock.sleep(1.0)
        limits = []
        for turn in turns[:3]:
            turn.throttled(None)
            limits.append(pacer.limit)
        for turn in turns[3:]:
            turn.failed()
        (await pacer.start()).throttled(None)
        limits.append(pacer.limit)
        return limits

    assert clock.run(work()) == [8, 8, 8, 4]


def test_the_limit_never_falls_below_one_call() -> None:
    clock = VirtualClock()

    async def work() -> int:
        pacer = Pacer(Pace(concurrency=2), clock)
        for _ in range(5):
            (await pacer.start()).throttled(None)
        return pacer.limit

    assert clock.run(work()) == 1


def test_nothing_starts_before_the_server_says_so() -> None:
    clock = VirtualClock()

    async def work() -> float:
        pacer = Pacer(Pace(concurrency=4), clock)
        before = clock.now()
        (await pacer.start()).throttled(30.0)
        (await pacer.start()).failed()
        return clock.now() - before

    assert clock.run(work()) == pytest.approx(30.0)


def test_the_limit_grows_by_one_for_each_limits_worth_of_successes() -> None:
    clock = VirtualClock()

    async def work() -> tuple[int, int]:
        pacer = Pacer(Pace(concurrency=16), clock)
        (await pacer.start()).throttled(None)
        before = pacer.limit
        await _calls(pacer, clock, 8 + 9 + 1, latency=1.0)
        return before, pacer.limit

    before, grown = clock.run(work())
    assert (before, grown) == (8, 10)


def test_a_limit_that_is_not_reached_does_not_grow() -> None:
    clock = VirtualClock()

    async def work() -> int:
        pacer = Pacer(None, clock)
        for _ in range(200):
            await _calls(pacer, clock, 3, latency=1.0)
        return pacer.limit

    assert clock.run(work()) == 16


def test_without_a_cap_the_limit_finds_its_way_up_to_64() -> None:
    clock = VirtualClock()

    async def work() -> int:
        pacer = Pacer(None, clock)
        await _calls(pacer, clock, 5_000, latency=1.0)
        return pacer.limit

    assert clock.run(work()) == 64


def test_calls_start_in_the_order_in_which_they_asked() -> None:
    clock = VirtualClock()

    async def work() -> list[int]:
        pacer = Pacer(Pace(concurrency=1), clock)
        order: list[int] = []

        async def call(number: int) -> None:
            turn = await pacer.start()
            order.append(number)
            await clock.sleep(1.0)
            turn.succeeded(0)

        await asyncio.gather(*(call(number) for number in range(20)))
        return order

    assert clock.run(work()) == list(range(20))


def test_a_waiting_call_that_is_cancelled_leaves_the_line() -> None:
    clock = VirtualClock()

    async def work() -> int:
        pacer = Pacer(Pace(concurrency=1), clock)
        first = await pacer.start()
        gone = asyncio.ensure_future(pacer.start())
        next_one = asyncio.ensure_future(pacer.start())
        await asyncio.sleep(0)
        gone.cancel()
        first.succeeded(0)
        (await next_one).succeeded(0)
        return pacer.in_flight

    assert clock.run(work()) == 0


def test_an_ended_turn_ends_once() -> None:
    clock = VirtualClock()

    async def work() -> int:
        pacer = Pacer(None, clock)
        turn = await pacer.start()
        turn.succeeded(1)
        turn.failed()
        turn.throttled(100.0)
        return pacer.in_flight

    assert clock.run(work()) == 0


def test_the_reference_and_the_slots_name_the_caps() -> None:
    assert pace_of(TeacherModel()) == Pace()
    assert pace_of(TeacherModel(concurrency=8), 4).concurrency == 4
    assert pace_of(TeacherModel(requests_per_minute=5, tokens_per_minute=6)) == Pace(None, 5, 6)


@pytest.mark.parametrize("cap", ["concurrency", "requests_per_minute", "tokens_per_minute"])
def test_a_cap_below_one_is_refused(cap: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{cap} is -1; give at least 1"):
        pace_of(TeacherModel(**{cap: -1}))
