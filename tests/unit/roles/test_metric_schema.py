"""The metric as a whole, and its checks of form: one sixteenth of the schema part each."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from stillhouse.roles.product_owner import metric
from unit.roles.metric_answers import ABSENT, EVERY_ID, REQUIREMENTS, REVIEW, VISION, aligned, changed, parts


def schema_checks(**where: Any) -> int:
    return round(parts(**where)["schema"] * 16 / 30)


def test_every_recorded_score_is_reproduced(validation_rows: list[dict[str, Any]]) -> None:
    assert len(validation_rows) == 34
    for row in validation_rows:
        assert metric.score(row, row).score == pytest.approx(row["score"], abs=1e-9)


def test_a_perfect_answer_scores_one() -> None:
    review = changed(REVIEW, summary=EVERY_ID)
    assert parts(review=review) == dict.fromkeys(
        ("schema", "vision_completeness", "requirements_alignment", "review_specificity"), 30.0
    )
    outputs = {"product_vision": yaml.safe_dump(VISION), "product_owner_review": yaml.safe_dump(review)}
    assert metric.score({"requirements_yaml": yaml.safe_dump(REQUIREMENTS)}, outputs).score == 1.0


def test_nothing_scores_only_the_check_that_absence_passes() -> None:
    assert metric.score({}, {}).parts["schema"] == pytest.approx(30 / 16)
    assert metric.score({}, {}).score == pytest.approx(30 / 16 / 120)


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ({"product_name": " x "}, True),
        ({"product_name": "  "}, False),
        ({"product_name": 7}, False),
        ({"product_name": ABSENT}, False),
        ({"product_summary": " " * 9 + "x" * 40 + " " * 9}, True),
        ({"product_summary": " " * 9 + "x" * 39 + " " * 9}, False),
        ({"product_summary": ["x" * 40]}, False),
        *[({name: [None]}, True) for name in metric.LISTS_OF_VISION],
        *[({name: []}, False) for name in metric.LISTS_OF_VISION],
        *[({name: "a text"}, False) for name in metric.LISTS_OF_VISION],
        *[({name: {"a": 1}}, False) for name in metric.LISTS_OF_VISION],
        ({"non_goals": ["x"]}, True),
        ({"non_goals": ABSENT}, False),
        ({"non_goals": None}, False),
        ({"non_goals": "none"}, False),
        ({"last_updated": " 2025-11-01T10:00:00Z "}, True),
        ({"last_updated": "2025-11-01T10:00:00+00:00"}, True),
        ({"last_updated": "20251101"}, True),
        ({"last_updated": "2025-02-30"}, False),
        ({"last_updated": "yesterday"}, False),
        ({"last_updated": ""}, False),
        ({"last_updated": 20251101}, False),
        ({"last_updated": ABSENT}, False),
    ],
)
def test_each_check_of_the_vision_counts_one_sixteenth(change: dict[str, Any], passes: bool) -> None:
    assert schema_checks(vision=changed(VISION, **change)) == (16 if passes else 15)


def test_an_unquoted_date_or_timestamp_does_not_pass() -> None:
    for date in ("2025-11-01", "2025-11-01 10:00:00+00:00"):
        text = yaml.safe_dump(changed(VISION, last_updated=ABSENT)) + f"last_updated: {date}\n"
        assert schema_checks(vision=text) == 15


@pytest.mark.parametrize(
    ("review", "passed"),
    [
        (changed(REVIEW, status="needs_adjustment"), 16),
        (changed(REVIEW, status="misaligned"), 16),
        (changed(REVIEW, status="conflicts"), 15),
        (changed(REVIEW, status="Aligned"), 15),
        (changed(REVIEW, status=" aligned"), 15),
        (changed(REVIEW, status=["aligned"]), 15),
        (changed(REVIEW, status=ABSENT), 15),
        (changed(REVIEW, summary=[""]), 16),
        (changed(REVIEW, summary=[]), 15),
        (changed(REVIEW, summary="a text"), 15),
        (changed(REVIEW, requirements_alignment=ABSENT), 13),
        (changed(REVIEW, requirements_alignment=None), 13),
        (changed(REVIEW, requirements_alignment=[]), 13),
        (changed(REVIEW, requirements_alignment=""), 13),
        (changed(REVIEW, requirements_alignment=0), 13),
        (changed(REVIEW, requirements_alignment=["aligned"]), 12),
        (changed(REVIEW, requirements_alignment="aligned"), 12),
        (aligned(aligned=[]), 16),
        (aligned(aligned=ABSENT), 15),
        (aligned(gaps=None), 15),
        (aligned(conflicts="none"), 15),
        (aligned(gaps=[], conflicts=[]), 16),
        (changed(REVIEW, recommended_actions=[None]), 16),
        (changed(REVIEW, recommended_actions=[]), 15),
        (changed(REVIEW, recommended_actions="do it"), 15),
        (changed(REVIEW, narrative=" " + "x" * 40 + " "), 16),
        (changed(REVIEW, narrative=" " + "x" * 39 + " "), 15),
        (changed(REVIEW, narrative=None), 15),
    ],
)
def test_each_check_of_the_review_counts_one_sixteenth(review: dict[str, Any], passed: int) -> None:
    assert schema_checks(review=review) == passed
