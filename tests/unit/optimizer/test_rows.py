"""Rows as DSPy's examples."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quiz_role import QuizRole
from stillhouse.errors import InvalidArgument
from stillhouse.optimizer.rows import Rows, are_answered, check_apart, read_examples

ROLE = QuizRole()
WHOLE = {"answer": "four", "comment": "easy"}


def read(*rows: dict[str, Any]) -> list[Any]:
    return read_examples([json.dumps(row) + "\n" for row in rows], ROLE, source="rows.jsonl")


def test_an_example_holds_text_only_and_every_input() -> None:
    (example,) = read({"inputs": {"question": "Two and two?"}, "labels": {"tier": "simple"}})
    assert example.toDict() == {"question": "Two and two?", "hint": ""}
    assert dict(example.inputs().items()) == {"question": "Two and two?", "hint": ""}


def test_outputs_are_there_only_where_they_are_whole() -> None:
    inputs = {"question": "Two and two?"}
    whole, half, blank, raw, none = read(
        {"inputs": inputs, "outputs": WHOLE},
        {"inputs": inputs, "outputs": {"answer": "four"}},
        {"inputs": inputs, "outputs": {**WHOLE, "comment": " "}},
        {"inputs": inputs, "response": "ANSWER: four / COMMENT: easy"},
        {"inputs": inputs},
    )
    assert whole.toDict() == raw.toDict() == {"question": "Two and two?", "hint": "", **WHOLE}
    assert half == blank == none
    assert are_answered([whole, raw], ROLE)
    assert not are_answered([whole, half], ROLE)
    assert not are_answered([none, whole], ROLE)


def test_no_rows_are_refused_by_their_name() -> None:
    with pytest.raises(InvalidArgument, match=r"rows\.jsonl has no rows"):
        read()


@pytest.mark.parametrize("row", [{"inputs": {"hint": "?"}}, {"inputs": {"question": 4}}, {"inputs": []}])
def test_a_broken_row_is_refused_with_its_line(row: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=r"rows\.jsonl.*2"):
        read({"inputs": {"question": "Two and two?"}}, row)


def test_a_question_in_both_sets_is_refused_however_it_is_written() -> None:
    train = read({"inputs": {"question": "Two  and TWO?"}})
    validation = read({"inputs": {"question": "One and one?"}}, {"inputs": {"question": "two and two?"}})
    with pytest.raises(
        InvalidArgument, match=r"v: 1 of 2 rows have a question that is in t too.*'two and two"
    ) as refused:
        check_apart(Rows("t", train), Rows("v", validation), ROLE)
    assert refused.value.field == "train"
    check_apart(Rows("t", train), Rows("v", validation[:1]), ROLE)
