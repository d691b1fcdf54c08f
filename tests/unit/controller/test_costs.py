"""What is paid for, and that a limit which can't be kept is refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from planned_world import spec_of
from stillhouse.controller.costs import paid_steps
from stillhouse.controller.requests import check
from stillhouse.errors import InvalidArgument

Json = dict[str, Any]
UNPRICED = {"provider": "litellm", "model": "openai/unheard-of", "endpoint": "http://h:1"}
FREE = {"provider": "litellm", "model": "ollama_chat/granite4"}
FLASH = {"model": "gemini-2.5-flash"}
PRICE = {"model": UNPRICED["model"], "inputPerMillionUsd": "1", "outputPerMillionUsd": "2"}
BUDGET = {"maxCostUsd": "1"}
ROWS = {"train": {"uri": "t.jsonl"}, "validation": {"uri": "v.jsonl"}}
IMPORT = {"import": {"uri": "rows.jsonl"}}


def taught(*stages: Json, prices: tuple[Json, ...] = ()) -> Json:
    return {"concepts": {"uri": "c.jsonl"}, "teacher": {"stages": list(stages), "prices": list(prices)}}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"optimization": {"promptModel": UNPRICED}, "budget": BUDGET}, "spec.optimization.promptModel.model"),
        ({"optimization": {"demoModel": UNPRICED, "maxCostUsd": "1"}}, "spec.optimization.demoModel.model"),
        ({"dataset": taught(FLASH, UNPRICED), "budget": BUDGET}, "spec.dataset.teacher.stages[1].model"),
        (
            {"dataset": taught(IMPORT, UNPRICED), "optimization": {"target": "Teacher", **ROWS, "maxCostUsd": "1"}},
            "spec.dataset.teacher.stages[1].model",
        ),
    ],
)
def test_a_model_without_a_price_is_refused_where_a_limit_holds_for_it(changes: Json, field: str) -> None:
    with pytest.raises(InvalidArgument, match="the price of openai/unheard-of is not known") as refused:
        check(spec_of(**changes))
    assert refused.value.field == field


@pytest.mark.parametrize(
    "changes",
    [
        {"optimization": {"promptModel": UNPRICED}},
        {"optimization": {"promptModel": FREE, "demoModel": FLASH}, "budget": BUDGET},
        {"dataset": taught(UNPRICED)},
        {"dataset": taught(UNPRICED, prices=(PRICE,)), "budget": BUDGET},
        {"dataset": taught(FLASH), "optimization": {"maxCostUsd": "1"}, "budget": BUDGET},
        {
            "dataset": taught(FLASH, UNPRICED),
            "optimization": {"target": "Teacher", **ROWS, "maxCostUsd": "1"},
        },
    ],
)
def test_a_model_with_a_price_or_without_a_limit_is_accepted(changes: Json) -> None:
    check(spec_of(**changes))


def test_the_remedy_is_one_that_there_is() -> None:
    wanted = {"promptModel": UNPRICED, "maxCostUsd": "1"}
    with pytest.raises(InvalidArgument) as refused:
        check(spec_of(optimization=wanted, budget=BUDGET))
    assert "take budget.maxCostUsd and optimization.maxCostUsd out" in refused.value.message
    assert "dataset.teacher" not in refused.value.message
    check(spec_of(optimization={"promptModel": UNPRICED, "maxCalls": 100}))

    with pytest.raises(InvalidArgument, match=r"name it in dataset\.teacher\.prices"):
        check(spec_of(dataset=taught(FLASH), optimization=wanted))
    check(spec_of(dataset=taught(FLASH, prices=(PRICE,)), optimization=wanted))


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, ()),
        ({"optimization": {}}, ()),
        ({"optimization": {"promptModel": FREE}}, ()),
        ({"optimization": {"promptModel": UNPRICED}}, ("optimize",)),
        ({"dataset": taught(FREE), "evaluation": {"teacher": True}}, ()),
        ({"dataset": taught(FLASH), "optimization": {}}, ("generate",)),
        ({"dataset": taught(FREE, FLASH), "evaluation": {"teacher": True}}, ("generate",)),
        (
            {
                "dataset": taught(IMPORT, FLASH),
                "evaluation": {"teacher": True},
                "optimization": {"target": "Teacher", **ROWS},
            },
            ("optimize", "generate", "evaluate-teacher"),
        ),
    ],
)
def test_steps_that_ask_only_free_models_are_not_among_the_paid_ones(changes: Json, steps: tuple[str, ...]) -> None:
    assert paid_steps(spec_of(**changes)) == steps
