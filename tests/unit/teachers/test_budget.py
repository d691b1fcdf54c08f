"""The budget's limit is hard, and waits where waiting helps."""

from __future__ import annotations

import asyncio
import math

import pytest

from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.teachers.budget import Budget


def test_without_a_limit_every_call_starts() -> None:
    async def work() -> float:
        budget = Budget(None)
        with await budget.reserve(1e9) as reservation:
            reservation.settle(12.5)
        return budget.spent_usd

    assert asyncio.run(work()) == 12.5


def test_a_budget_of_zero_lets_no_paid_call_start() -> None:
    with pytest.raises(FailedPrecondition, match=r"\$0\.0000 of \$0\.0000 is spent.*raise budget\.maxCostUsd"):
        asyncio.run(Budget(0.0).reserve(0.01))


def test_what_is_spent_and_in_flight_counts_at_its_maximum() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        first = await budget.reserve(0.6)
        first.settle(0.5)
        second = await budget.reserve(0.4)
        assert (budget.spent_usd, budget.reserved_usd) == (0.5, 0.4)
        second.settle(0.4)
        with pytest.raises(FailedPrecondition, match=r"0\.9000 of"):
            await budget.reserve(0.2)
        assert budget.spent_usd == pytest.approx(0.9)

    asyncio.run(work())


def test_a_call_waits_for_one_in_flight_that_may_cost_less() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        first = await budget.reserve(0.9)
        waiting = asyncio.ensure_future(budget.reserve(0.9))
        await asyncio.sleep(0)
        assert not waiting.done()
        first.settle(0.1)
        (await waiting).settle(0.9)
        assert budget.spent_usd == pytest.approx(1.0)

    asyncio.run(work())


def test_a_waiting_call_fails_once_the_money_is_spent() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        first = await budget.reserve(0.9)
        waiting = asyncio.ensure_future(budget.reserve(0.9))
        await asyncio.sleep(0)
        first.settle(0.9)
        with pytest.raises(FailedPrecondition):
            await waiting

    asyncio.run(work())


def test_a_failed_call_gives_its_money_back() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        with pytest.raises(ValueError, match="boom"), await budget.reserve(1.0):
            raise ValueError("boom")
        assert (budget.spent_usd, budget.reserved_usd) == (0.0, 0.0)
        assert await budget.reserve(1.0)

    asyncio.run(work())


def test_what_the_log_cost_counts_but_is_never_refused() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        budget.spend(3.0)
        assert budget.spent_usd == 3.0
        with pytest.raises(FailedPrecondition, match=r"3\.0000 of"):
            await budget.reserve(0.0001)

    asyncio.run(work())


def test_a_call_that_costs_nothing_passes_no_limit() -> None:
    async def work() -> None:
        budget = Budget(1.0)
        budget.spend(3.0)
        (await budget.reserve(0.0)).settle(0.0)
        assert budget.spent_usd == 3.0

    asyncio.run(work())


@pytest.mark.parametrize("limit", [-0.01, math.nan, math.inf])
def test_a_limit_that_is_no_amount_of_money_is_refused(limit: float) -> None:
    with pytest.raises(InvalidArgument, match="maxCostUsd"):
        Budget(limit)
