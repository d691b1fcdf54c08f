import json

import pytest

from quiz_role import QuizRole
from stillhouse.dataset.concepts import ConceptRow, concept_line, read_concepts
from stillhouse.errors import InvalidArgument
from stillhouse.roles.role import Example, load_role


def read(*rows: object) -> list[ConceptRow]:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return list(read_concepts(lines, source="CONCEPTS.jsonl", shape=QuizRole()))


def test_inputs_are_told_from_labels_and_blank_inputs_are_left_out() -> None:
    rows = read(
        {"question": "Why?", "hint": " ", "tier": "simple", "rank": 3, "good": True, "parts": [1]},
        "",
        {"question": "How?"},
    )

    assert rows == [
        ConceptRow({"question": "Why?"}, {"tier": "simple", "rank": "3", "good": "true"}, 1),
        ConceptRow({"question": "How?"}, {}, 3),
    ]


def test_scalars_of_the_metadata_are_labels_and_the_rows_own_win() -> None:
    (row,) = read(
        {"question": "Why?", "tier": "simple", "metadata": {"tier": "big", "author": "Ada", "more": {"a": 1}}}
    )

    assert row.labels == {"tier": "simple", "author": "Ada"}


def test_an_answer_is_passed_over_whatever_it_is() -> None:
    (row,) = read({"question": "Why?", "answer": {"odd": 1}, "comment": 7, "response": [], "score": "high"})

    assert row == ConceptRow({"question": "Why?"}, {}, 1)


def test_rows_of_a_built_data_set_are_concepts_too() -> None:
    (row,) = read({"inputs": {"question": "Why?"}, "outputs": {"answer": "x"}, "score": 1.0, "labels": {"tier": "big"}})

    assert row == ConceptRow({"question": "Why?"}, {"tier": "big"}, 1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"hint": "x"}, "'question' is missing or blank"),
        ({"question": "  "}, "'question' is missing or blank"),
        ({"question": 7}, "'question' is no text but int"),
        ({"question": "Why?", "hint": {"a": 1}}, "'hint' is no text but dict"),
        ({"question": "Why?", "metadata": "x"}, "'metadata' is no object but str"),
        ({"question": "Why?", "metadata": {"hint": "x"}}, "metadata has the input 'hint'"),
        ("{broken", "is not JSON"),
        ("[1]", "is no JSON object"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(row: object, message: str) -> None:
    with pytest.raises(InvalidArgument, match=r"CONCEPTS\.jsonl:2.*" + message):
        read({"question": "Why?"}, row)


def test_what_is_written_is_read_back() -> None:
    role = load_role("product_owner")
    examples = list(role.examples(count=30, seed=3))

    lines = [concept_line(example) for example in examples]

    found = list(read_concepts(lines, source="CONCEPTS.jsonl", shape=role))
    assert [(row.inputs, row.labels) for row in found] == [(example.inputs, example.labels) for example in examples]
    assert [row.line for row in found] == list(range(1, 31))


@pytest.mark.parametrize("name", ["question", "metadata", "response", "inputs"])
def test_a_label_that_could_not_be_read_back_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match=name):
        concept_line(Example({"question": "Why?"}, {name: "x"}))
