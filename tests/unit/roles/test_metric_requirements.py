"""Points for covering the requirements."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from stillhouse.roles.product_owner import metric
from unit.roles.metric_answers import EVERY_ID, REQUIREMENTS, REVIEW, alignment_points, changed, one, parts

STOP_WORDS = "the and with para con los las una unos unas user users system systems api apis rest crud"


@pytest.mark.parametrize(
    ("coverage", "points"),
    [
        (1.0, 22.0),
        (0.85, 22.0),
        (0.8499999, 16 + 6 * (0.8499999 - 0.70) / 0.15),
        (0.70, 16.0),
        (0.6999999, 8 + 8 * (0.6999999 - 0.50) / 0.20),
        (0.50, 8.0),
        (0.4999999, 8 * 0.4999999),
        (0.0, 0.0),
    ],
)
def test_coverage_earns_by_four_ranges(coverage: float, points: float) -> None:
    assert metric.coverage_points(coverage) == pytest.approx(points, abs=1e-12)


@pytest.mark.parametrize(
    ("covered", "points"), [(10, 22.0), (9, 22.0), (8, 20.0), (7, 16.0), (6, 12.0), (5, 8.0), (4, 3.2)]
)
def test_covered_requirements_are_counted_over_all(covered: int, points: float) -> None:
    ids = [*EVERY_ID[8:], *EVERY_ID[:5], *EVERY_ID[5:8]][:covered]  # NFR00n last, as each covers FR00n too
    review = changed(REVIEW, summary=ids, requirements_alignment={})
    assert parts(review=review)["requirements_alignment"] == pytest.approx(points, abs=1e-12)


def test_a_longer_id_covers_the_id_it_contains() -> None:
    assert alignment_points(one(id="FR001"), summary=["NFR001"]) == 22.0


def test_an_id_is_found_in_any_case_and_in_every_segment() -> None:
    for change in (
        {"summary": ["see fr001"]},
        {"summary": "see FR001"},
        {"recommended_actions": "FR001"},
        {"recommended_actions": [{"FR001": "text"}]},
        {"narrative": "about FR001"},
    ):
        assert alignment_points(one(id="FR001"), **change) == 22.0
    assert alignment_points(one(id="fr001"), summary=["FR001"]) == 22.0
    assert alignment_points(one(id="FR001"), requirements_alignment={"aligned": "FR001"}) == 0.0
    assert alignment_points(one(id="FR001"), requirements_alignment={"aligned": [["FR001"]]}) == 30.0
    assert alignment_points(one(id="FR001"), status="FR001") == 0.0


def test_thirty_percent_of_the_tokens_in_one_segment_cover_a_requirement() -> None:
    ten = one(description="a b c d e f g h i j")
    assert alignment_points(ten, summary=["A b, c!"]) == 22.0
    assert alignment_points(ten, summary=["a b", "c d"]) == 0.0
    assert alignment_points(ten, summary=["a b b a"]) == 0.0
    assert alignment_points(one(description="a b c d e f g"), summary=["a b"]) == 0.0
    assert alignment_points(one(description="a a a b c d"), summary=["a a"]) == 0.0


def test_stop_words_are_no_tokens_and_accented_letters_are() -> None:
    for word in STOP_WORDS.split():
        assert alignment_points(one(description=word), summary=[word]) == 0.0
        assert alignment_points(one(description=word.upper()), summary=[word]) == 0.0
    assert metric.tokens("Año ÁÉ über the 3x") == {"año", "áé", "ber", "3x"}
    assert metric.tokens("\u212a") == frozenset()  # the Kelvin sign is no token, though its lower case is


def test_requirements_are_mappings_with_an_id_or_a_description() -> None:
    listed = {"functional_requirements": ["FR001 text", {"title": "x"}, {"id": None, "description": " "}, {"id": 7}]}
    assert metric.read_requirements(yaml.safe_dump(listed)) == [metric.Requirement("7", "")]
    assert metric.read_requirements("functional_requirements: {id: FR001}") == []
    twice = {"functional_requirements": [{"id": "FR001"}], "constraints": [{"id": "FR001"}]}
    assert len(metric.read_requirements(yaml.safe_dump(twice))) == 2


def test_duplicates_of_a_requirement_each_count() -> None:
    requirements = {"constraints": [{"id": "A1"}, {"id": "A1"}, {"id": "B1"}, {"id": "B2"}]}
    assert alignment_points(requirements, summary=["A1"]) == 8.0


@pytest.mark.parametrize("requirements", ["", "- a list", "{", "functional_requirements: none", {"title": "x"}])
def test_without_requirements_alignment_earns_nothing(requirements: Any) -> None:
    assert parts(requirements=requirements)["requirements_alignment"] == 0.0


@pytest.mark.parametrize(("count", "points"), [(0, 0.0), (5, 4.0), (10, 8.0), (20, 8.0)])
def test_aligned_items_earn_by_their_number(count: int, points: float) -> None:
    assert alignment_points(REQUIREMENTS, requirements_alignment={"aligned": [None] * count}) == points


def test_a_gap_and_a_conflict_earn_three_points_each() -> None:
    assert alignment_points(REQUIREMENTS, requirements_alignment={"gaps": [""], "conflicts": []}) == 3.0
    assert alignment_points(REQUIREMENTS, requirements_alignment={"gaps": [], "conflicts": [""]}) == 3.0
    assert alignment_points(REQUIREMENTS, requirements_alignment={"gaps": ["x"], "conflicts": ["x"]}) == 6.0
    assert alignment_points(REQUIREMENTS, requirements_alignment={"gaps": "x", "conflicts": {"x": 1}}) == 0.0
