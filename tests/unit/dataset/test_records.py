"""Records of a built data set, written and read back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.dataset.records import DataRecord, read_records, write_record
from stillhouse.errors import InvalidArgument

TEXTS = st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")), max_size=3)
RECORDS = st.builds(
    DataRecord,
    inputs=TEXTS.filter(bool),
    outputs=TEXTS,
    response=st.none() | st.text(st.characters(codec="utf-8")),
    score=st.none() | st.floats(0, 1),
    labels=TEXTS,
)


@given(st.lists(RECORDS, max_size=4))
def test_records_survive_writing_and_reading(records: list[DataRecord]) -> None:
    text = "".join(write_record(record) for record in records)
    assert list(read_records(text.splitlines(), source="train.jsonl")) == records


def test_a_record_is_one_line_with_sorted_keys_and_no_ascii_escapes() -> None:
    line = write_record(DataRecord({"q": "ñ", "a": "1"}, {"o": "x"}, None, 0.5, {"tier": "simple"}))
    assert (
        line == '{"inputs": {"a": "1", "q": "ñ"}, "labels": {"tier": "simple"}, "outputs": {"o": "x"}, "score": 0.5}\n'
    )


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"outputs": {}}, "field 'inputs' is missing"),
        ({"inputs": {}}, "field 'inputs' is missing or empty"),
        ({"inputs": ["a"]}, "field 'inputs' is no object"),
        ({"inputs": {"q": 1}}, "field inputs.q is no text"),
        ({"inputs": {"q": "a"}, "score": 1.5}, "'score' is no number within 0 and 1"),
        ({"inputs": {"q": "a"}, "score": True}, "'score' is no number within 0 and 1"),
        ({"inputs": {"q": "a"}, "response": 3}, "field 'response' is no text"),
        ({"inputs": {"q": "a"}, "labels": {"tier": None}}, "field labels.tier is no text"),
        ({"inputs": {"q": "a"}, "concept": "b"}, "unknown field 'concept'"),
    ],
)
def test_what_is_no_record_is_refused_with_file_line_and_field(values: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        list(read_records(["", json.dumps(values)], source="train.jsonl"))
    assert "train.jsonl:2" in caught.value.message
    assert reason in caught.value.message
