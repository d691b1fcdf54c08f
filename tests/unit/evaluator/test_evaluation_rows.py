import json

import pytest

from quiz_role import QuizRole
from stillhouse.errors import InvalidArgument
from stillhouse.evaluator.rows import EvaluationRow, read_rows


def rows(*lines: object) -> list[EvaluationRow]:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return list(read_rows(texts, QuizRole(), source="rows.jsonl"))


def test_flat_rows_and_built_records_give_the_same_question() -> None:
    flat, built = rows(
        {"question": "Why?", "tier": "simple"}, {"inputs": {"question": "Why?"}, "labels": {"tier": "simple"}}
    )

    assert flat.inputs == built.inputs == {"question": "Why?"}
    assert flat.labels == built.labels == {"tier": "simple"}


def test_recorded_answers_and_scores_are_no_labels() -> None:
    (row,) = rows(
        {"question": "Why?", "answer": "So.", "comment": "x", "response": "y", "score": 0.5, "concept_id": "C1"}
    )

    assert row.labels == {"concept_id": "C1"}


def test_a_row_is_named_by_its_inputs_so_that_two_evaluations_can_be_paired() -> None:
    first = rows({"question": "Why?"}, {"question": "How?"})
    second = rows({"question": "How?", "tier": "other"}, {"question": "Why?"})

    assert {row.row_id for row in first} == {row.row_id for row in second}


def test_rows_with_equal_inputs_have_different_names() -> None:
    first, second, third = rows(*[{"question": "Why?"}] * 3)

    assert second.row_id == f"{first.row_id}-2"
    assert third.row_id == f"{first.row_id}-3"


def test_a_blank_optional_input_is_the_same_as_none() -> None:
    first, second = rows({"question": "Why?", "hint": " "}, {"question": "Why?"})

    assert first.inputs == second.inputs


@pytest.mark.parametrize("line", ["{broken", "[]", '{"hint": "no question"}', '{"question": 3}'])
def test_a_broken_row_is_refused_with_file_and_line(line: str) -> None:
    with pytest.raises(InvalidArgument, match=r"rows\.jsonl:2"):
        rows({"question": "Why?"}, line)
