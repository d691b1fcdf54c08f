from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.errors import InvalidArgument
from stillhouse.roles.product_owner import ROLE, schema

VISION = "product_vision"
REVIEW = "product_owner_review"
VISION_VALUES: dict[str, Any] = {
    "product_name": "Ledger",
    "product_summary": "A ledger.",
    "target_users": ["clerks"],
    "value_proposition": ["fewer errors"],
    "key_capabilities": ["posting"],
    "non_goals": [],
    "success_metrics": ["errors per month"],
    "last_updated": "2025-11-01",
}
REVIEW_VALUES: dict[str, Any] = {
    "status": "aligned",
    "summary": ["It fits."],
    "requirements_alignment": {"aligned": ["FR001: posting"], "gaps": [], "conflicts": []},
    "recommended_actions": [],
    "narrative": "It fits.",
}


def read(name: str, values: dict[str, Any] | str) -> Any:
    text = values if isinstance(values, str) else yaml.safe_dump(values, allow_unicode=True)
    output, problems = schema.read_output(name, text)
    assert (output is None) == bool(problems)
    return output if output is not None else problems


def read_vision(**changes: Any) -> Any:
    return read(VISION, {**VISION_VALUES, **changes})


def read_review(**changes: Any) -> Any:
    return read(REVIEW, {**REVIEW_VALUES, **changes})


def test_every_recorded_teacher_answer_is_valid(teacher_rows: list[dict[str, Any]]) -> None:
    for row in teacher_rows:
        parsed = ROLE.parse(row["response"])
        assert parsed.problems == ()
        assert ROLE.problems(parsed.outputs) == []
        canonical = ROLE.canonical(parsed.outputs)
        assert ROLE.canonical(canonical) == canonical
        assert ROLE.parse(ROLE.answer_text(canonical)).outputs == canonical
        for name, text in canonical.items():
            assert yaml.safe_load(text) == json.loads(
                schema.MODELS[name].model_validate(yaml.safe_load(text)).model_dump_json()
            )


def test_canonical_text_has_ordered_keys_quoted_text_and_bare_status() -> None:
    vision = dict(reversed(VISION_VALUES.items())) | {"product_name": 'The "new"\n  \\ledger\t', "unknown": 1}
    assert schema.canonical_output(VISION, yaml.safe_dump(vision)) == (
        'product_name: "The \\"new\\" \\\\ledger"\nproduct_summary: "A ledger."\ntarget_users:\n- "clerks"\n'
        'value_proposition:\n- "fewer errors"\nkey_capabilities:\n- "posting"\nnon_goals: []\n'
        'success_metrics:\n- "errors per month"\nlast_updated: "2025-11-01"'
    )
    assert schema.canonical_output(REVIEW, yaml.safe_dump(REVIEW_VALUES)) == (
        'status: aligned\nsummary:\n- "It fits."\nrequirements_alignment:\n  aligned:\n  - "FR001: posting"\n'
        '  gaps: []\n  conflicts: []\nrecommended_actions: []\nnarrative: "It fits."'
    )


@pytest.mark.parametrize(
    "date",
    ["2025-11-01", "'2025-11-01'", "2025-11-01 10:00:00+00:00", "2025-11-01T10:00:00Z", "' 2025-11-01T10:00:00Z '"],
)
def test_dates_of_every_recorded_kind_become_one_text(date: str) -> None:
    text = yaml.safe_dump({**VISION_VALUES, "last_updated": None}).replace("null", date)
    assert read(VISION, text).last_updated == "2025-11-01"


@pytest.mark.parametrize("date", ["yesterday", "YYYY-MM-DD", "", None, 2025, ["2025-11-01"]])
def test_what_is_no_date_is_a_problem(date: Any) -> None:
    assert any("last_updated" in problem for problem in read_vision(last_updated=date))


def test_an_impossible_date_makes_the_yaml_unreadable() -> None:
    (problem,) = read(VISION, "last_updated: 2025-02-30")
    assert "VISION is no readable YAML" in problem


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"FR001": "posting"}, "FR001: posting"),
        ({"FR001": None}, "FR001"),
        ({"FR001, FR002": "posting"}, "FR001, FR002: posting"),
        ({"id": "FR001", "description": "posting"}, "FR001: posting"),
        ({"id": "FR001", "description": "posting", "status": "open"}, "FR001: posting; status: open"),
        ({"FR001": "a", "FR002": "b"}, "FR001: a; FR002: b"),
        ({"FR001": ["a", "b"]}, "FR001: a, b"),
        (["a", "b"], "a, b"),
        (7, "7"),
        (True, "true"),
        ("a\n\n b\x07\ufeff", "a b"),
    ],
)
def test_items_of_every_shape_become_text(item: Any, text: str) -> None:
    alignment = {"aligned": [item], "gaps": [], "conflicts": []}
    assert read_review(requirements_alignment=alignment).requirements_alignment.aligned == (text,)


def test_null_lists_are_empty_bare_text_is_one_item_and_blank_items_go() -> None:
    review = read_review(summary="It fits.", recommended_actions=None)
    assert review.summary == ("It fits.",)
    assert review.recommended_actions == ()
    assert read_review(recommended_actions=["", None, " ", "act"]).recommended_actions == ("act",)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("conflicts", "misaligned"),
        ("Needs Adjustment", "needs_adjustment"),
        (" aligned ", "aligned"),
        ("misaligned", "misaligned"),
    ],
)
def test_status_synonyms_are_read(word: str, status: str) -> None:
    assert read_review(status=word).status == status
    assert schema.labels({REVIEW: f"status: '{word}'"}) == {"status": status}


@pytest.mark.parametrize("status", ["fine", "", None, 7, ["aligned"]])
def test_an_unknown_status_is_a_problem_and_no_label(status: Any) -> None:
    assert any("REVIEW.status" in problem for problem in read_review(status=status))
    assert schema.labels({REVIEW: yaml.safe_dump({"status": status})}) == {}


@pytest.mark.parametrize("name", ["target_users", "value_proposition", "key_capabilities", "success_metrics"])
def test_lists_of_the_vision_have_at_least_one_item_and_a_bound(name: str) -> None:
    assert read_vision(**{name: ["x"] * schema.MAX_ITEMS})
    assert any(name in problem for problem in read_vision(**{name: []}))
    assert any(name in problem for problem in read_vision(**{name: ["x"] * (schema.MAX_ITEMS + 1)}))
    assert any(name in problem for problem in read_vision(**{name: {"x": 1}}))


@pytest.mark.parametrize(
    ("name", "limit"),
    [("product_name", schema.MAX_NAME_CHARACTERS), ("product_summary", schema.MAX_TEXT_CHARACTERS)],
)
def test_texts_are_bounded_from_both_sides(name: str, limit: int) -> None:
    assert getattr(read_vision(**{name: "x" * limit}), name)
    assert any(name in problem for problem in read_vision(**{name: "x" * (limit + 1)}))
    assert any(name in problem for problem in read_vision(**{name: " \n"}))


def test_items_are_bounded() -> None:
    assert read_vision(non_goals=["x" * schema.MAX_ITEM_CHARACTERS]).non_goals
    assert any("non_goals" in problem for problem in read_vision(non_goals=["x" * (schema.MAX_ITEM_CHARACTERS + 1)]))


@pytest.mark.parametrize("key", [*VISION_VALUES, *REVIEW_VALUES])
def test_every_key_is_required(key: str) -> None:
    name, values = (VISION, VISION_VALUES) if key in VISION_VALUES else (REVIEW, REVIEW_VALUES)
    problems = read(name, {other: value for other, value in values.items() if other != key})
    assert [key in problem for problem in problems] == [True]


@pytest.mark.parametrize("text", ["", "- a", "text", "a: b: c", "[" * 3000, "x" * 200_001])
def test_text_that_is_no_mapping_is_a_problem(text: str) -> None:
    assert read(VISION, text)[0].startswith("VISION is no")


def test_canonical_of_invalid_output_names_the_problem() -> None:
    with pytest.raises(InvalidArgument, match="status"):
        schema.canonical_output(REVIEW, yaml.safe_dump({**REVIEW_VALUES, "status": "fine"}))


_texts = st.text(max_size=80).filter(lambda text: schema.clean_text(text) != "")
_lists = st.lists(_texts, min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(
    name=_texts,
    items=_lists,
    others=st.lists(_texts, max_size=3),
    day=st.dates(),
    status=st.sampled_from(schema.STATUSES),
)
def test_canonical_text_loads_as_what_the_model_holds(
    name: str, items: list[str], others: list[str], day: Any, status: str
) -> None:
    vision = schema.Vision.model_validate(
        {
            **VISION_VALUES,
            "product_name": name,
            "target_users": items,
            "non_goals": others,
            "last_updated": day,
        }
    )
    alignment = {"aligned": others, "gaps": items, "conflicts": others}
    review = schema.Review.model_validate(
        {**REVIEW_VALUES, "status": status, "summary": items, "requirements_alignment": alignment, "narrative": name}
    )
    for output in (vision, review):
        text = schema.canonical_text(output)
        assert yaml.safe_load(text) == json.loads(output.model_dump_json())
        assert schema.canonical_output(VISION if output is vision else REVIEW, text) == text
