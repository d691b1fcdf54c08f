"""Prices: the table, overrides, and what a call costs at most."""

from __future__ import annotations

import math

import pytest

from scripted_teacher import question
from stillhouse.errors import InvalidArgument
from stillhouse.teachers.prices import FREE, Price, price_of
from stillhouse.v1.teacher_pb2 import ModelPrice, TeacherModel


def test_a_call_costs_prompt_and_output() -> None:
    price = price_of(TeacherModel(provider="vertex", model="gemini-2.5-flash"))
    assert price == Price(0.30, 2.50)
    assert price.cost(1_000_000, 2_000_000) == pytest.approx(5.30)


def test_the_emulator_costs_what_it_emulates() -> None:
    assert price_of(TeacherModel(provider="emulator", model="gemini-2.5-pro")) == Price(1.25, 10.0)


@pytest.mark.parametrize(
    ("provider", "model"),
    [("gguf", "/x.gguf"), ("student", ""), ("litellm", "ollama/llama3.2"), ("litellm", "ollama_chat/a")],
)
def test_what_runs_on_ones_own_machines_is_free(provider: str, model: str) -> None:
    assert price_of(TeacherModel(provider=provider, model=model)) == FREE


def test_litellm_prefixes_lead_to_the_same_price() -> None:
    assert price_of(TeacherModel(provider="litellm", model="vertex_ai/gemini-2.5-pro")) == Price(1.25, 10.0)
    assert price_of(TeacherModel(provider="litellm", model="openai/gpt-4o-mini")) == Price(0.15, 0.60)


def test_an_unknown_model_has_no_price() -> None:
    assert price_of(TeacherModel(provider="vertex", model="gemini-9")) is None


def test_an_override_goes_before_the_table() -> None:
    own = ModelPrice(model="gemini-2.5-pro", input_per_million_usd=7, output_per_million_usd=8)
    assert price_of(TeacherModel(provider="vertex", model="gemini-2.5-pro"), [own]) == Price(7, 8)
    assert price_of(TeacherModel(provider="vertex", model="gemini-2.5-flash"), [own]) == Price(0.30, 2.50)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_price_that_is_no_amount_of_money_is_refused(value: float) -> None:
    own = ModelPrice(model="m", output_per_million_usd=value)
    with pytest.raises(InvalidArgument, match="output price of m") as caught:
        price_of(TeacherModel(provider="vertex", model="other"), [own])
    assert caught.value.field == "dataset.teacher.prices"


def test_the_maximum_bounds_text_of_one_token_a_byte() -> None:
    price = Price(1_000_000, 0)
    assert price.maximum(question("1234567890")) >= 10
    assert price.maximum(question("数" * 10)) >= 30
    assert price.maximum(question("x", response_schema={"type": "string"})) > price.maximum(question("x"))


def test_the_maximum_counts_all_the_output_that_is_allowed() -> None:
    assert Price(0, 2.0).maximum(question(max_output_tokens=500_000)) == pytest.approx(1.0)
