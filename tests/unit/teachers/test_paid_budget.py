"""What a teacher may cost: no call starts that could pass the budget, and nothing is counted twice."""

from __future__ import annotations

import asyncio

import pytest

from scripted_teacher import PRICE, ScriptedTeacher, VirtualClock, answer, ask_all, in_turn, paid, question
from stillhouse.artifacts.answers import AnswerLog, LoggedAnswer
from stillhouse.errors import (
    FailedPrecondition,
    InvalidArgument,
    Unavailable,
)
from stillhouse.teachers.budget import Budget
from stillhouse.teachers.teacher import Answer, Question


def test_no_call_starts_that_could_pass_the_budget(clock: VirtualClock, log: AnswerLog) -> None:
    budget = Budget(0.005)
    most_at_risk = 0.0

    async def script(_: Question) -> Answer:
        nonlocal most_at_risk
        most_at_risk = max(most_at_risk, budget.spent_usd + budget.reserved_usd)
        await clock.sleep(1.0)
        return answer()

    teacher = ScriptedTeacher(script)
    asked = paid(teacher, clock, log=log, budget=budget)

    async def work() -> list[LoggedAnswer | BaseException]:
        calls = (asked.ask(question(str(number))) for number in range(100))
        return await asyncio.gather(*calls, return_exceptions=True)

    outcomes = clock.run(work())
    answered = [each for each in outcomes if isinstance(each, LoggedAnswer)]
    assert all(isinstance(each, LoggedAnswer | FailedPrecondition) for each in outcomes)
    assert most_at_risk <= 0.005
    assert (
        asked.figures.cost_usd
        == pytest.approx(sum(each.cost_usd for each in answered))
        == pytest.approx(budget.spent_usd)
    )
    # One more could have cost too much.
    assert budget.spent_usd > 0.005 - PRICE.maximum(question("99")) - 0.0001


def test_a_budget_of_zero_makes_not_one_call(clock: VirtualClock) -> None:
    teacher = ScriptedTeacher(in_turn(answer()))
    with pytest.raises(FailedPrecondition, match="maxCostUsd"):
        clock.run(ask_all(paid(teacher, clock, budget=Budget(0.0)), question()))
    assert teacher.asked == []


def test_answers_from_the_log_need_no_budget_but_count_once(clock: VirtualClock, log: AnswerLog) -> None:
    teacher = ScriptedTeacher(in_turn(answer()))
    [kept] = clock.run(ask_all(paid(teacher, clock, log=log), question()))
    budget = Budget(0.0)
    asked = paid(teacher, clock, log=log, budget=budget)

    async def work() -> None:
        assert await asked.recall(question()) == kept
        assert await asked.ask(question()) == kept
        assert await asked.recall(question("else")) is None

    clock.run(work())
    assert budget.spent_usd == pytest.approx(kept.cost_usd)
    assert len(teacher.asked) == 1


def test_a_limit_needs_a_price(clock: VirtualClock) -> None:
    with pytest.raises(InvalidArgument, match=r"scripted:model.*dataset\.teacher\.prices"):
        paid(ScriptedTeacher(in_turn(answer())), clock, price=None, budget=Budget(1.0))


def test_a_failed_call_costs_nothing(clock: VirtualClock) -> None:
    budget = Budget(1.0)
    asked = paid(ScriptedTeacher(in_turn(Unavailable("gone"), answer())), clock, budget=budget)
    [kept] = clock.run(ask_all(asked, question()))
    assert budget.spent_usd == pytest.approx(kept.cost_usd)
    assert budget.reserved_usd == 0.0
