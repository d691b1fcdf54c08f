"""Quotas: a burst, then the rate; told when to come back."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from stillhouse.vertex_emulator.quota import Quota


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_tenth_of_the_rate_may_come_at_once() -> None:
    quota = Quota(60, None, Clock())
    assert [quota.admit(1) for _ in range(6)] == [None] * 6
    assert quota.admit(1) == ("requests", pytest.approx(1.0))


def test_a_low_rate_lets_one_call_in() -> None:
    clock = Clock()
    quota = Quota(2, None, clock)
    assert quota.admit(1) is None
    assert quota.admit(1) == ("requests", pytest.approx(30.0))
    clock.now += 30
    assert quota.admit(1) is None


def test_who_waits_as_told_is_let_in() -> None:
    clock = Clock()
    quota = Quota(600, 60_000, clock)
    let_in = 0
    for _ in range(2000):
        refused = quota.admit(50)
        if refused is None:
            let_in += 1
        else:
            clock.now += refused[1]
            assert quota.admit(50) is None
            let_in += 1
    assert (let_in - 60) / (clock.now - 100) * 60 == pytest.approx(600, rel=0.02)


def test_the_answer_s_tokens_are_paid_back_by_waiting() -> None:
    clock = Clock()
    quota = Quota(None, 6000, clock)
    assert quota.admit(100) is None
    quota.spend(700)
    assert quota.admit(100) == ("tokens", pytest.approx(3.0))
    clock.now += 3
    assert quota.admit(100) is None


def test_a_prompt_larger_than_the_burst_is_let_in_by_a_full_bucket() -> None:
    clock = Clock()
    quota = Quota(None, 60, clock)
    assert quota.admit(1000) is None
    refused = quota.admit(1)
    assert refused is not None
    assert refused[1] == pytest.approx(995.0)


def test_a_refused_call_costs_nothing() -> None:
    clock = Clock()
    quota = Quota(60, 60, clock)
    assert quota.admit(6) is None
    for _ in range(100):
        assert quota.admit(6) == ("tokens", pytest.approx(6.0))
    clock.now += 6
    assert quota.admit(6) is None
