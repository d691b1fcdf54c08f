"""What a candidate was answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quiz_role import QuizRole
from stillhouse.dataset.importing import Candidate, read_candidates
from stillhouse.dataset_builder.conversion import answered_outputs, validation_record

ROLE = QuizRole()


def candidates(*rows: dict[str, Any], answered: bool = True) -> list[Candidate]:
    lines = [json.dumps({"question": "q", **row}) for row in rows]
    return list(read_candidates(lines, source="rows.jsonl", shape=ROLE, answered=answered))


def test_outputs_are_read_from_the_response_where_there_are_none() -> None:
    (candidate,) = candidates({"response": "ANSWER:  a / COMMENT: c"})
    outputs, problems = answered_outputs(ROLE, candidate)
    assert (dict(outputs), problems) == ({"answer": " a", "comment": "c"}, ())


@pytest.mark.parametrize("row", [{"response": "sorry"}, {"answer": "a", "comment": ""}])
def test_an_answer_that_is_not_valid_says_why(row: dict[str, str]) -> None:
    (candidate,) = candidates(row)
    assert all(answered_outputs(ROLE, candidate)[1])
    assert answered_outputs(ROLE, candidate)[1] != ()


def test_rows_to_validate_on_keep_what_was_recorded_if_anything_was() -> None:
    found = [
        validation_record(ROLE, candidate)
        for candidate in candidates({}, {"answer": " a ", "comment": "", "score": 0.5}, answered=False)
    ]
    assert [(record.outputs, record.score) for record in found] == [({}, None), ({"answer": " a ", "comment": ""}, 0.5)]
