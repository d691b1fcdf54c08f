"""Rows that go to a stage without a data set being built."""

from __future__ import annotations

import json

import pytest

from quiz_role import QuizRole
from stillhouse.dataset.records import DataRecord
from stillhouse.dataset_builder.conversion import training_records, validation_records
from stillhouse.errors import InvalidArgument

ROLE = QuizRole()


def test_rows_to_train_on_become_canonical_records() -> None:
    lines = [json.dumps({"question": "q", "response": "ANSWER:  a / COMMENT: c", "tier": "x"})]
    assert list(training_records(ROLE, lines, source="rows.jsonl")) == [
        DataRecord({"question": "q"}, {"answer": "a", "comment": "c"}, "ANSWER:  a / COMMENT: c", None, {"tier": "x"})
    ]


@pytest.mark.parametrize("row", [{"response": "sorry"}, {"answer": "a", "comment": ""}])
def test_an_answer_that_is_not_valid_is_named(row: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match=r"rows\.jsonl:1: the answer is not valid: \w+"):
        list(training_records(ROLE, [json.dumps({"question": "q", **row})], source="rows.jsonl"))


def test_rows_to_validate_on_keep_what_was_recorded_if_anything_was() -> None:
    rows = [{"question": "q"}, {"question": "q", "answer": " a ", "comment": "", "score": 0.5}]
    found = list(validation_records(ROLE, map(json.dumps, rows), source="rows.jsonl"))
    assert [(record.outputs, record.score) for record in found] == [({}, None), ({"answer": " a ", "comment": ""}, 0.5)]
