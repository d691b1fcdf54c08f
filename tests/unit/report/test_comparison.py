"""Which rows are shown, beside which answer of the teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from stillhouse.dataset.lines import Row
from stillhouse.report.comparison import Reference, compared_rows
from stillhouse.report.diffs import MAX_CHARACTERS
from stillhouse.report.facts import ComparedRow


def rows_of(values: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [Row(one, "rows.jsonl", line) for line, one in enumerate(values, start=1)]


def row(name: str, score: float, **values: Any) -> dict[str, Any]:
    return {"id": name, "inputs": {"question": name}, "answer": f"I say {name}", "score": score, **values}


def compared(student: Sequence[Mapping[str, Any]], *references: Sequence[Mapping[str, Any]]) -> list[ComparedRow]:
    named = [Reference(f"source {index}", lambda one=one: rows_of(one)) for index, one in enumerate(references)]  # type: ignore[misc]
    return list(compared_rows(lambda: rows_of(student), named, lambda outputs: outputs))


@pytest.mark.parametrize(
    ("scores", "places"),
    [
        ([], []),
        ([0.5], [("only", "0")]),
        ([0.5, 0.9], [("best", "1"), ("worst", "0")]),
        ([0.5, 0.9, 0.7], [("best", "1"), ("median", "2"), ("worst", "0")]),
        ([0.5, 0.5, 0.5, 0.5], [("best", "0"), ("median", "1"), ("worst", "3")]),
    ],
)
def test_best_median_and_worst_are_different_rows(scores: list[float], places: list[tuple[str, str]]) -> None:
    found = compared([row(str(index), score) for index, score in enumerate(scores)])
    assert [(one.place, one.row_id) for one in found] == places


def test_the_first_source_with_an_answer_to_the_row_counts() -> None:
    evaluated = [row("a", 1.0, answer=""), row("b", 1.0, answer="evaluated b")]
    recorded = [row("a", 1.0, answer="recorded a"), row("b", 1.0, answer="recorded b")]
    first, second = compared([row("a", 0.9), row("b", 0.1)], evaluated, recorded)
    assert (first.reference, first.pairs[0].left) == ("source 1", "recorded a")
    assert (second.reference, second.pairs[0].left) == ("source 0", "evaluated b")


def test_a_row_that_no_source_answers_shows_the_student_alone() -> None:
    (only,) = compared([row("a", 0.9)], [row("b", 1.0)])
    assert only.reference == ""
    assert [(pair.left, pair.right) for pair in only.pairs] == [(None, "I say a")]


def test_outputs_are_compared_by_name_where_both_have_them() -> None:
    outputs = {"plan": "one", "review": "two"}
    (only,) = compared([row("a", 0.9, outputs=outputs)], [row("a", 1.0, outputs={"plan": "uno", "review": "due"})])
    assert [(pair.name, pair.left, pair.right) for pair in only.pairs] == [
        ("plan", "uno", "one"),
        ("review", "due", "two"),
    ]


def test_a_student_that_lacks_an_output_is_compared_by_its_whole_answer() -> None:
    (only,) = compared([row("a", 0.1, outputs={"plan": "one"})], [row("a", 1.0, outputs={"plan": "1", "review": "2"})])
    assert [(pair.name, pair.right) for pair in only.pairs] == [("answer", "I say a")]


def test_a_row_without_an_answer_says_why() -> None:
    failure = {"reason": "deadline_exceeded", "message": "60 s were not enough"}
    (only,) = compared([row("a", 0.0, answer="", failure=failure)])
    assert only.right.failure == "deadline_exceeded: 60 s were not enough"
    assert only.pairs[0].right is None


def test_an_input_of_a_megabyte_and_a_thousand_remarks_are_shortened() -> None:
    (only,) = compared([row("a", 0.1, inputs={"question": "x" * 1_000_000}, problems=["y" * 10_000] * 1_000)])
    assert len(only.inputs[0].text) < MAX_CHARACTERS + 100
    assert sum(len(remark) for remark in only.right.remarks) < 20_000
