"""Points for a complete vision and a specific review."""

from __future__ import annotations

from typing import Any

import pytest

from stillhouse.roles.product_owner import metric
from unit.roles.metric_answers import EVERY_ID, REVIEW, VISION, changed, parts, specificity


@pytest.mark.parametrize("name", metric.LISTS_OF_VISION)
@pytest.mark.parametrize(("items", "points"), [([], 24), (["a"], 27), (["a", None], 30), (list("abc"), 30), ("ab", 24)])
def test_a_list_of_the_vision_earns_three_then_six_points(name: str, items: Any, points: float) -> None:
    assert parts(vision=changed(VISION, **{name: items}))["vision_completeness"] == points


@pytest.mark.parametrize(("length", "points"), [(59, 24), (60, 27), (119, 27), (120, 30)])
def test_the_product_summary_earns_by_its_stripped_length(length: int, points: float) -> None:
    vision = changed(VISION, product_summary="  " + "x" * length + "  ")
    assert parts(vision=vision)["vision_completeness"] == points


def test_a_part_is_cut_at_thirty_points() -> None:
    assert parts(review=changed(REVIEW, summary=EVERY_ID))["requirements_alignment"] == 30.0
    assert parts()["review_specificity"] == 30.0


@pytest.mark.parametrize(
    ("change", "points"),
    [
        ({}, 0),
        ({"summary": ["a"]}, 3),
        ({"summary": ["a", ""]}, 6),
        ({"summary": "a text"}, 0),
        ({"recommended_actions": [None]}, 6),
        ({"recommended_actions": ["a", "b"]}, 12),
        ({"recommended_actions": "a text"}, 0),
        ({"requirements_alignment": {"gaps": []}}, 2),
        ({"requirements_alignment": {"gaps": [None]}}, 6),
        ({"requirements_alignment": {"gaps": None}}, 0),
        ({"requirements_alignment": {"conflicts": []}}, 2),
        ({"requirements_alignment": {"conflicts": ["a"]}}, 6),
        ({"requirements_alignment": {"conflicts": "a"}}, 0),
        ({"narrative": " " + "x" * 79 + " "}, 0),
        ({"narrative": " " + "x" * 80 + " "}, 3),
        ({"narrative": "x" * 159}, 3),
        ({"narrative": "x" * 160}, 6),
        ({"narrative": ["x" * 160]}, 0),
    ],
)
def test_specificity_counts_items_and_lengths(change: dict[str, Any], points: float) -> None:
    assert specificity(**change) == points
