"""A teacher together with what pays for it: what is refused before any call."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

from stillhouse.artifacts.answers import AnswerLog
from stillhouse.artifacts.store import Store
from stillhouse.errors import InvalidArgument
from stillhouse.teachers.budget import Budget
from stillhouse.teachers.purse import Purse, open_paid_teacher
from stillhouse.v1.teacher_pb2 import ModelPrice, TeacherModel


def opened(tmp_path: Path, *prices: ModelPrice, limit: float | None = None, **fields: Any) -> str:
    """The identity of a paid teacher of nobody's price list, which makes no call."""
    purse = Purse(AnswerLog(Store.open(f"memory://{tmp_path}")), Budget(limit), {}, prices)
    model = TeacherModel(provider="vertex", model="own-model", endpoint="http://localhost:1", **fields)

    async def work() -> str:
        async with open_paid_teacher(model, purse) as teacher:
            return teacher.identity

    return asyncio.run(work())


def test_a_limit_needs_a_price_of_the_table_or_of_the_users_own(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"price of vertex@localhost:own-model is not known"):
        opened(tmp_path, limit=1.0)
    assert opened(tmp_path, ModelPrice(model="own-model", input_per_million_usd=1), limit=1.0)
    assert opened(tmp_path) == "vertex@localhost:own-model"


@pytest.mark.parametrize(("name", "value"), [("deadline_seconds", -1.0), ("concurrency", -1)])
def test_what_is_no_bound_of_a_call_is_refused(tmp_path: Path, name: str, value: float) -> None:
    with pytest.raises(InvalidArgument) as caught:
        opened(tmp_path, **{name: value})
    assert caught.value.field == name


@pytest.mark.parametrize("seconds", [math.nan, math.inf])
def test_a_deadline_that_is_none_is_refused(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(InvalidArgument, match="give seconds above 0"):
        opened(tmp_path, deadline_seconds=seconds)
