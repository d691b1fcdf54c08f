"""Which answers are shown beside the baseline's, and rows that are of another evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from evaluation_documents import evaluation_bytes, reader, result, results
from stillhouse.errors import InvalidArgument
from stillhouse.evaluator.figures import RowResult
from stillhouse.report.answers import SHOWN_ROWS, AnswersBeside, answers_beside
from stillhouse.report.differences import compare
from stillhouse.report.evaluations import read_evaluation


def beside(base: Sequence[RowResult], *others: Sequence[RowResult]) -> tuple[AnswersBeside, ...]:
    all_rows = {"base": base, **{f"other {number}": rows for number, rows in enumerate(others)}}
    evaluations = {
        name: read_evaluation(evaluation_bytes(rows), source=f"{name}.json") for name, rows in all_rows.items()
    }
    return answers_beside(
        compare(evaluations), {name: reader(rows) for name, rows in all_rows.items()}, lambda outputs: outputs
    )


def test_the_largest_loss_comes_first_and_both_answers_are_there() -> None:
    (only,) = beside(results(0.5, 0.5, 0.9), results(0.5, 0.9, 0.1))
    assert [row.place for row in only.rows] == ["loss", "tie", "win"]
    first = only.rows[0]
    assert first.left is not None
    assert (first.row_id, first.left.score, first.right.score) == (f"{2:016x}", 0.9, 0.1)
    assert [(pair.left, pair.right) for pair in first.pairs] == [
        ("hats and caps\nof shop 2", "hats and coats\nof shop 2")
    ]
    assert first.inputs[0].text == "a shop for hats, number 2"


def test_of_many_rows_the_largest_losses_and_gains_are_shown_and_the_rest_is_counted() -> None:
    count = SHOWN_ROWS + 7
    (only,) = beside(results(*[0.5] * count), results(*[number / count for number in range(count)]))
    assert (len(only.rows), only.left_out) == (SHOWN_ROWS, 7)
    numbers = [int(row.row_id, 16) for row in only.rows]
    assert numbers == [*range(SHOWN_ROWS // 2), *range(count - SHOWN_ROWS // 2, count)]


def test_every_evaluation_is_shown_with_its_own_rows() -> None:
    count = SHOWN_ROWS + 2
    rising = [number / count for number in range(count)]
    first, second = beside(results(*[0.5] * count), results(*rising), results(*reversed(rising)))
    assert (first.name, second.name) == ("other 0", "other 1")
    assert first.rows[0].row_id == second.rows[-1].row_id == f"{0:016x}"


def test_an_evaluation_without_rows_is_left_out() -> None:
    rows = results(0.5, 0.6)
    read = read_evaluation(evaluation_bytes(rows), source="one.json")
    comparison = compare({"base": read, "with": read, "without": read})
    (only,) = answers_beside(comparison, {"base": reader(rows), "with": reader(rows)}, lambda outputs: outputs)
    assert only.name == "with"


def test_an_answer_that_is_not_there_says_why() -> None:
    failed = result(0, 0.0, failure="deadline_exceeded", failure_message="60 s", answer="", valid=False)
    (only,) = beside(results(0.5), [failed])
    assert only.rows[0].right.failure == "deadline_exceeded: 60 s"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (results(0.5, 0.7), r"rows\.jsonl:2 is no row of evaluation other"),
        ([*results(0.5), result(9, 0.6)], r"rows\.jsonl:2 is no row of evaluation other"),
        (results(0.5), "the rows of other lack 1 of 2, 0000000000000001 for one"),
    ],
)
def test_rows_of_another_evaluation_are_refused(rows: list[RowResult], words: str) -> None:
    mine = results(0.5, 0.6)
    read = read_evaluation(evaluation_bytes(mine), source="one.json")
    comparison = compare({"base": read, "other": read})
    with pytest.raises(InvalidArgument, match=words):
        answers_beside(comparison, {"base": reader(mine), "other": reader(rows)}, lambda outputs: outputs)
