"""EVAL.json as a value: what is read, what is refused, and what can't be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from evaluation_documents import SUBJECT, document, evaluation_bytes, result, results
from stillhouse.errors import InvalidArgument
from stillhouse.evaluator.summary import Subject
from stillhouse.report.evaluations import Evaluation, check_comparable, read_evaluation


def read(*scores: float, **values: Any) -> Evaluation:
    return read_evaluation(evaluation_bytes(results(*scores), **values), source="one.json")


def test_the_evaluators_document_is_read_with_its_figures_and_findings() -> None:
    made = read(0.9, 0.7, 0.2, 0.8)
    assert (made.scores.count, made.scores.mean, made.valid_rate) == (4, pytest.approx(0.65), 0.75)
    assert made.findings["gaps"].f1 == pytest.approx(6 / 7)
    assert set(made.findings_by_tier) == {"simple", "medium", "corporate"}
    assert made.findings_by_tier["simple"]["gaps"].missed == 1


def test_a_student_costs_nothing_and_a_teacher_its_share() -> None:
    assert read(0.9, 0.8).cost_usd_per_row is None
    assert read(0.9, 0.8, teacher="vertex/gemini", cost_usd=0.5).cost_usd_per_row == 0.25


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "model aaaaaaaaaaaa, role grammar"),
        ({"constraint": "none"}, "model aaaaaaaaaaaa, no grammar"),
        ({"program": "9" * 64}, "model aaaaaaaaaaaa, role grammar, program 999999999999"),
        ({"program": None}, "model aaaaaaaaaaaa, role grammar"),
        ({"model_sha256": ""}, "a model that its server did not name, role grammar"),
        ({"teacher": "vertex/gemini", "constraint": "none"}, "teacher vertex/gemini"),
    ],
)
def test_who_was_asked_is_said_in_words(values: dict[str, Any], words: str) -> None:
    assert read(0.9, **values).asked == words


def test_a_row_without_an_answer_counts_as_0_whatever_its_score_says() -> None:
    failed = result(0, 0.9, failure="deadline_exceeded", failure_message="60 s")
    made = read_evaluation(evaluation_bytes([failed, result(1, 0.8)]), source="one.json")
    assert [row.points for row in made.rows] == [0.0, 0.8]
    assert (made.failed, made.rows[0].passes_guards) == (1, False)


WHOLE = document(results(0.9, 0.8))
TWICE = [*WHOLE["rows"][:1], *WHOLE["rows"][:1]]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[1, 2]", "Input should be an object"),
        (b"{}", "role: Field required"),
        (json.dumps({**WHOLE, "scores": {}}).encode(), "scores.count: Field required"),
        (json.dumps({**WHOLE, "valid_rate": float("nan")}).encode(), "valid_rate: Input should be a finite number"),
        (json.dumps({**WHOLE, "guard_rate": 2}).encode(), "guard_rate: Input should be less than or equal to 1"),
        (json.dumps({**WHOLE, "findings": {"gaps": 3}}).encode(), "findings.gaps"),
        (json.dumps({**WHOLE, "findings": {"by_tier": {"simple": 3}}}).encode(), "findings_by_tier.simple"),
        (json.dumps({**WHOLE, "rows": TWICE}).encode(), "a row occurs twice"),
        (json.dumps({**WHOLE, "rows": []}).encode(), "it has 0 rows and figures of 2"),
        (b"[" * 100_000, "Invalid JSON"),
    ],
)
def test_what_is_no_evaluation_is_refused_with_the_reason(data: bytes, words: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        read_evaluation(data, source="one.json")
    assert raised.value.message.startswith("one.json is no EVAL.json of stillhouse evaluate: ")
    assert words in raised.value.message


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        (replace(SUBJECT, role="poet"), "their roles differ, product_owner 1 and poet 1"),
        (replace(SUBJECT, role_version=2), "their roles differ, product_owner 1 and product_owner 2"),
        (replace(SUBJECT, validation_sha256="c" * 64), "their validation rows differ, bbbbbbbbbbbb and cccccccccccc"),
        (replace(SUBJECT, metric="mine:score"), "their metrics differ, the role's and mine:score"),
    ],
)
def test_evaluations_that_differ_in_more_than_who_was_asked_are_not_compared(subject: Subject, words: str) -> None:
    other = read(0.9, 0.8, subject=subject)
    with pytest.raises(InvalidArgument, match=r"a\.json and c\.json can't be compared") as raised:
        check_comparable({"a.json": read(0.9, 0.8), "b.json": read(0.1, 0.2), "c.json": other})
    assert words in raised.value.message


def test_evaluations_of_other_rows_are_not_compared_whatever_their_digest_says() -> None:
    other = read_evaluation(evaluation_bytes([result(0, 0.9), result(7, 0.8)]), source="b.json")
    with pytest.raises(InvalidArgument, match=r"row 0000000000000001 is not the same in both"):
        check_comparable({"a.json": read(0.9, 0.8), "b.json": other})


def test_other_grammars_models_and_sampling_are_compared() -> None:
    subject = replace(SUBJECT, constraint="none", model_sha256="d" * 64, max_tokens=8192, temperature=0.7, seed=1)
    check_comparable({"a.json": read(0.9, 0.8), "b.json": read(0.1, 0.2, subject=subject)})
