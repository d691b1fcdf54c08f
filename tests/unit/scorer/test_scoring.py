"""The verdict on one record and on the rows of a file."""

from __future__ import annotations

import json

import pytest

from quiz_role import QuizRole
from stillhouse.errors import InvalidArgument
from stillhouse.roles.role import GuardFinding, MetricScore
from stillhouse.roles.scoring import score_record, score_rows

ROLE = QuizRole()


def test_outputs_are_scored_verbatim_with_parts_and_guards() -> None:
    verdict = score_record(ROLE, {"question": "q"}, outputs={"answer": "FOUR", "comment": "c"})
    assert (verdict.score, verdict.parts, verdict.valid) == (0.4, {"length": 4.0}, True)
    assert verdict.guards == (GuardFinding("shouting", "the answer is in capitals"),)


def test_a_response_is_read_where_there_are_no_outputs() -> None:
    verdict = score_record(ROLE, {"question": "q"}, response="ANSWER: four / COMMENT: c")
    assert (verdict.score, verdict.outputs) == (0.4, {"answer": "four", "comment": "c"})


def test_what_can_not_be_read_scores_as_empty_and_says_why() -> None:
    verdict = score_record(ROLE, {"question": "q"}, response="I can't")
    assert (verdict.score, verdict.valid, verdict.problems) == (0.0, False, ("no answer and comment",))
    assert score_record(ROLE, {}, outputs={"answer": "a"}).problems == ("comment is blank",)


def test_only_the_named_guards_are_asked_and_an_own_metric_takes_the_roles_place() -> None:
    verdict = score_record(
        ROLE,
        {"question": "q"},
        outputs={"answer": "FOUR", "comment": "c"},
        guards=["echo"],
        metric=lambda inputs, outputs: MetricScore(0.125, {}),
    )
    assert (verdict.score, verdict.guards) == (0.125, ())


def rows(*values: dict[str, object]) -> list[dict[str, object]]:
    return list(score_rows(ROLE, [json.dumps(value) for value in values], source="rows.jsonl"))


def test_each_row_comes_back_with_its_score_parts_and_guards() -> None:
    row = {"question": "q", "answer": "FOUR", "comment": "c", "score": 0.9, "tier": "simple", "extra": [1]}
    (found,) = rows(row)
    shouting = {"guard": "shouting", "reason": "the answer is in capitals"}
    assert found == {**row, "score": 0.4, "parts": {"length": 4.0}, "guards": [shouting]}
    assert list(found) == [*row, "parts", "guards"]


def test_absent_and_null_fields_count_as_empty() -> None:
    found = rows({"answer": "four"}, {"question": None, "answer": None}, {"response": "nothing"})
    assert [row["score"] for row in found] == [0.4, 0.0, 0.0]


def test_records_of_a_built_data_set_are_scored_as_well() -> None:
    (found,) = rows({"inputs": {"question": "q"}, "outputs": {"answer": "four", "comment": "c"}, "labels": {}})
    assert found["score"] == 0.4


@pytest.mark.parametrize(
    ("row", "reason"),
    [({"question": "q"}, "no field is an output of role 'quiz'"), ({"answer": 3}, "field 'answer' is no text but int")],
)
def test_a_row_that_can_not_be_scored_is_named(row: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^rows\.jsonl:2: ") as caught:
        rows({"answer": "a"}, row)
    assert reason in caught.value.message
