from __future__ import annotations

import time
from typing import Any

import pytest
import yaml

from stillhouse.roles.product_owner import metric

LONG = "word " * 100
REQUIREMENTS = {
    "functional_requirements": [{"id": f"FR00{n}", "description": f"alpha{n} beta{n}"} for n in range(1, 6)],
    "non_functional_requirements": [{"id": f"NFR00{n}", "description": f"gamma{n} delta{n}"} for n in range(1, 4)],
    "constraints": [{"id": f"C00{n}", "description": f"eps{n} zeta{n}"} for n in range(1, 3)],
}
VISION: dict[str, Any] = {
    "product_name": "Ledger",
    "product_summary": LONG,
    "target_users": ["a", "b"],
    "value_proposition": ["a", "b"],
    "key_capabilities": ["a", "b"],
    "non_goals": [],
    "success_metrics": ["a", "b"],
    "last_updated": "2025-11-01",
}
ALIGNMENT: dict[str, Any] = {"aligned": ["ok"] * 10, "gaps": ["gap"], "conflicts": ["conflict"]}
REVIEW: dict[str, Any] = {
    "status": "aligned",
    "summary": ["one", "two"],
    "requirements_alignment": ALIGNMENT,
    "recommended_actions": ["one", "two"],
    "narrative": LONG,
}
EVERY_ID = [item["id"] for items in REQUIREMENTS.values() for item in items]
STOP_WORDS = "the and with para con los las una unos unas user users system systems api apis rest crud"
ABSENT = object()


def changed(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**base, **changes}.items() if value is not ABSENT}


def parts(vision: Any = VISION, review: Any = REVIEW, requirements: Any = REQUIREMENTS) -> dict[str, float]:
    def text(value: Any) -> str:
        return value if isinstance(value, str) else yaml.safe_dump(value, width=10_000)

    outputs = {"product_vision": text(vision), "product_owner_review": text(review)}
    return dict(metric.score({"requirements_yaml": text(requirements)}, outputs).parts)


def aligned(**changes: Any) -> dict[str, Any]:
    return changed(REVIEW, requirements_alignment=changed(ALIGNMENT, **changes))


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


@pytest.mark.parametrize("name", metric.LISTS_OF_VISION)
@pytest.mark.parametrize(("items", "points"), [([], 24), (["a"], 27), (["a", None], 30), (list("abc"), 30), ("ab", 24)])
def test_a_list_of_the_vision_earns_three_then_six_points(name: str, items: Any, points: float) -> None:
    assert parts(vision=changed(VISION, **{name: items}))["vision_completeness"] == points


@pytest.mark.parametrize(("length", "points"), [(59, 24), (60, 27), (119, 27), (120, 30)])
def test_the_product_summary_earns_by_its_stripped_length(length: int, points: float) -> None:
    vision = changed(VISION, product_summary="  " + "x" * length + "  ")
    assert parts(vision=vision)["vision_completeness"] == points


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


def alignment_points(requirements: Any, **changes: Any) -> float:
    review = changed(REVIEW, summary=[], recommended_actions=[], requirements_alignment={}, narrative="")
    return parts(requirements=requirements, review=changed(review, **changes))["requirements_alignment"]


def one(**requirement: Any) -> dict[str, Any]:
    return {"constraints": [requirement]}


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


def test_a_part_is_cut_at_thirty_points() -> None:
    assert parts(review=changed(REVIEW, summary=EVERY_ID))["requirements_alignment"] == 30.0
    assert parts()["review_specificity"] == 30.0


def specificity(**changes: Any) -> float:
    bare = changed(REVIEW, summary=[], recommended_actions=[], requirements_alignment={}, narrative="")
    return parts(review=changed(bare, **changes))["review_specificity"]


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


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "~",
        "just text",
        "- a\n- b",
        "a: b: c",
        "last_updated: 2025-02-30",
        "a: 2001-01-01 00:00:00 +99:99",
        "a: [1, 2",
        "\x00",
        "\ud800",
        "a: !!python/object:os.system x",
        "a: 1\n---\nb: 2",
        "[" * 5000,
        "x: " + "9" * 5000,
        "? [a]\n: b",
        "a: &a [*a]",
        "summary: [0x" + "f" * 4200 + "]",
        "summary: !!set {a, b}",
        "summary: !!binary aGk=",
        "narrative: .nan",
        "summary: [{a: 1}, [b], .inf, 2001-01-01]",
    ],
)
def test_bad_text_never_raises(text: str) -> None:
    for where in ({"vision": text}, {"review": text}, {"requirements": text}):
        assert all(0.0 <= points <= 30.0 for points in parts(**where).values())
    score = metric.score({"requirements_yaml": text}, {"product_vision": text, "product_owner_review": text})
    assert 0.0 <= score.score <= 1.0


def test_values_that_are_no_text_count_as_absent() -> None:
    nothing = {"product_vision": None, "product_owner_review": 7}
    assert metric.score({"requirements_yaml": []}, nothing).score == metric.score({}, {}).score  # type: ignore[arg-type,dict-item]


def test_text_that_would_expand_without_bound_is_read_as_empty() -> None:
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    merges = "m0: &m0 {x: 1}\n" + "".join(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 60))
    web = (
        "w: &w [" + ", ".join(f"&w{n} [{', '.join(['*w', *(f'*w{k}' for k in range(n))])}]" for n in range(30)) + "]\n"
    )
    sixties = "a: 1" + ":59" * 60_000
    started = time.monotonic()
    for bomb in (laughs + "summary: [*a59]", merges, web + "summary: [*w]", sixties, "x" * 300_000):
        assert metric.score({"requirements_yaml": bomb}, {"product_owner_review": bomb}).score <= 30 / 16 / 120
    assert time.monotonic() - started < 20


def test_an_alias_that_stays_small_is_read() -> None:
    review = "x: &x [FR001, FR001]\n" + yaml.safe_dump(changed(REVIEW, summary=ABSENT)) + "summary: *x\n"
    assert parts(review=review)["review_specificity"] == 30.0
    merged = "base: &base {aligned: [], gaps: []}\nrequirements_alignment: {<<: *base, conflicts: []}\n"
    assert specificity() == 0.0
    assert parts(review=merged)["review_specificity"] == 4.0
