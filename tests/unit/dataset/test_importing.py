"""Rows from outside become candidates, or an error that names file, line and field."""

from __future__ import annotations

import json

import pytest

from quiz_role import QuizRole
from stillhouse.dataset.importing import Candidate, read_candidates
from stillhouse.dataset.records import DataRecord, write_record
from stillhouse.errors import InvalidArgument


def candidates(*rows: dict[str, object], answered: bool = True) -> list[Candidate]:
    lines = [json.dumps(row) for row in rows]
    return list(read_candidates(lines, source="rows.jsonl", shape=QuizRole(), answered=answered))


def test_a_flat_row_becomes_inputs_outputs_and_labels() -> None:
    (found,) = candidates(
        {
            "question": "q",
            "hint": None,
            "response": "r",
            "model": "m",
            "score": 0.5,
            "tier": "x",
            "n": 3,
            "ok": True,
        }
    )
    assert found.inputs == {"question": "q"}
    assert found.outputs == {}
    assert found.response == "r"
    assert found.score == 0.5
    assert found.labels == {"model": "m", "tier": "x", "n": "3", "ok": "true"}


def test_lists_and_objects_are_no_labels() -> None:
    (found,) = candidates({"question": "q", "response": "r", "parts": {"a": 1}, "guards": [], "note": None})
    assert found.labels == {}


def test_outputs_take_the_place_of_a_response() -> None:
    (found,) = candidates({"question": "q", "answer": "a", "comment": "c"})
    assert found.outputs == {"answer": "a", "comment": "c"}
    assert found.response is None


def test_a_record_of_a_built_data_set_is_read_as_it_is() -> None:
    record = DataRecord({"question": "q"}, {"answer": "a", "comment": "c"}, "r", 0.25, {"tier": "x"})
    (found,) = read_candidates([write_record(record)], source="rows.jsonl", shape=QuizRole())
    assert (found.inputs, found.outputs, found.response) == (record.inputs, record.outputs, "r")
    assert (found.score, found.labels) == (0.25, {"tier": "x"})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"response": "r"}, "required field 'question' is missing or blank"),
        ({"question": "  ", "response": "r"}, "required field 'question' is missing or blank"),
        ({"question": 1, "response": "r"}, "field 'question' is no text but int"),
        ({"question": "q"}, "field 'answer' is missing"),
        ({"question": "q", "answer": "a"}, "field 'comment' is missing"),
        ({"question": "q", "response": ["r"]}, "field 'response' is no text but list"),
        ({"question": "q", "response": "r", "score": "high"}, "field 'score' is no number"),
        ({"inputs": {"concept": "q"}}, "unknown input 'concept'"),
    ],
)
def test_a_row_that_lacks_something_is_refused_with_file_line_and_field(row: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        candidates({"question": "q", "response": "r"}, row)
    assert caught.value.message.startswith("rows.jsonl:2: ")
    assert reason in caught.value.message


def test_a_row_to_validate_on_needs_no_answer() -> None:
    (found,) = candidates({"question": "q", "concept_id": "Q-1"}, answered=False)
    assert found.labels == {"concept_id": "Q-1"}
