"""The role's grammar against its parser and models: all it admits is valid, all that is canonical is admitted."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from stillhouse.roles.product_owner import ROLE
from stillhouse.roles.product_owner.grammar import (
    LONG_LIST_ITEMS,
    MAX_ID_CHARACTERS,
    MAX_IDS,
    NARRATIVE_CHARACTERS,
    SHORT_LIST_ITEMS,
    grammar,
    requirement_ids,
)
from stillhouse.roles.product_owner.signature import CONCEPT, REQUIREMENTS
from unit.roles.gbnf import Grammar

IDS = ("FR001", "FR002", "NFR001", "C001")


def inputs_with(*ids: object) -> Mapping[str, str]:
    items = [{"id": text, "description": "does something"} for text in ids]
    return {CONCEPT: "A product", REQUIREMENTS: yaml.safe_dump({"functional_requirements": items}, allow_unicode=True)}


INPUTS = inputs_with(*IDS)
GRAMMAR = Grammar(grammar(INPUTS))


def answer(**changes: str) -> str:
    texts = {
        "name": '"Desk"',
        "users": '\n- "Pilots"',
        "non_goals": " []",
        "date": '"2025-11-01"',
        "status": "aligned",
        "aligned": " []",
        "gaps": " []",
        "actions": " []",
        "narrative": '"Good."',
    } | changes
    return (
        f'```yaml VISION\nproduct_name: {texts["name"]}\nproduct_summary: "Short."\ntarget_users:{texts["users"]}\n'
        f'value_proposition:\n- "Time"\nkey_capabilities:\n- "Board"\nnon_goals:{texts["non_goals"]}\n'
        f'success_metrics:\n- "Use"\nlast_updated: {texts["date"]}\n```\n'
        f'```yaml REVIEW\nstatus: {texts["status"]}\nsummary:\n- "Fits."\nrequirements_alignment:\n'
        f"  aligned:{texts['aligned']}\n  gaps:{texts['gaps']}\n  conflicts: []\n"
        f"recommended_actions:{texts['actions']}\nnarrative: {texts['narrative']}\n```"
    )


def problems_of(text: str) -> list[str]:
    parsed = ROLE.parse(text)
    return [*parsed.problems, *ROLE.problems(parsed.outputs)]


def aligned(*items: str) -> str:
    return answer(aligned="".join(f'\n  - "{item}"' for item in items))


@pytest.mark.parametrize("ids", [IDS, (), ("a-1", 'say "x"', "back\\slash", "日本1", 7)])
def test_random_texts_of_the_grammar_parse_and_satisfy_the_models(ids: tuple[object, ...]) -> None:
    found = Grammar(grammar(inputs_with(*ids)))
    randomness = random.Random(20)
    for _ in range(60):
        text = found.sample(randomness)
        assert problems_of(text) == [], text
        assert found.accepts(text)


@pytest.mark.soak
def test_many_random_texts_of_the_grammar_are_valid() -> None:
    randomness = random.Random(21)
    for _ in range(5_000):
        text = GRAMMAR.sample(randomness, most_repeats=12)
        assert problems_of(text) == [], text


def test_canonical_forms_of_random_texts_are_admitted() -> None:
    randomness = random.Random(22)
    for _ in range(60):
        outputs = ROLE.parse(GRAMMAR.sample(randomness)).outputs
        canonical = ROLE.answer_text(ROLE.canonical(outputs))
        at = GRAMMAR.refused_at(canonical)
        assert at is None, canonical[max(0, at - 60) : at + 20]


def test_one_changed_character_is_refused_or_leaves_the_text_valid() -> None:
    randomness = random.Random(23)
    text = answer(aligned='\n  - "FR001: a \\" b"', gaps='\n  - "one"', actions='\n- "do"')
    alphabet = '"\\\n\t :-[]`0aF\x00\x85\u2028\u00a0\ufeff'
    for _ in range(800):
        at = randomness.randrange(len(text))
        changed = text[:at] + randomness.choice((*alphabet, "")) + text[at + randomness.choice((0, 1)) :]
        if GRAMMAR.accepts(changed):
            assert problems_of(changed) == [], changed


@pytest.mark.parametrize(
    ("date", "admitted"),
    [
        ("2025-11-01", True),
        ("2024-02-29", True),
        ("2000-02-29", True),
        ("2025-02-29", False),
        ("2025-02-30", False),
        ("2025-04-31", False),
        ("2025-12-31", True),
        ("2025-13-01", False),
        ("2025-00-10", False),
        ("2025-10-00", False),
        ("2096-02-29", True),
        ("2098-02-29", False),
    ],
)
def test_dates_are_days_of_the_calendar(date: str, *, admitted: bool) -> None:
    assert GRAMMAR.accepts(answer(date=f'"{date}"')) is admitted


@pytest.mark.parametrize(
    "item",
    ["FR001: text", "FR001", "FR001 and FR009", "NFR001 (quoted)", "Free text", "C", "Fr", "NF", "Cost 1", "F1",
     "99.9%",      "C++ code", "Caf\u00e9", "\u00e1", "FR001\\\" x", "\\\\ x", "NFR: later 1"],
)  # fmt: skip
def test_aligned_items_are_known_ids_or_free_text(item: str) -> None:
    text = aligned(item)
    assert GRAMMAR.accepts(text)
    assert problems_of(text) == []


@pytest.mark.parametrize(
    "item",
    ["FR009: text", "fr001: text", "FR0011: text", "FR001x", "NFR002", "C-1", "c 1", "C_1", "FR-001", "FR 001", "C1",
     " FR001", ""],
)  # fmt: skip
def test_aligned_items_do_not_begin_with_an_unknown_id(item: str) -> None:
    assert not GRAMMAR.accepts(aligned(item))


def test_prefixes_of_the_requests_own_ids_are_held_too() -> None:
    found = Grammar(grammar(inputs_with("REQ-7", "US12")))
    assert found.accepts(aligned("REQ-7: text", "US12: text", "Requests are fast", "Use it"))
    for item in ("REQ-8: text", "req9", "US13", "FR001"):
        assert not found.accepts(aligned(item)), item


def test_ids_are_escaped_for_yaml_and_for_the_grammar() -> None:
    ids = ('say"x"', "back\\slash", "[a]", "#1", "ñ1", "`tick`", "a|b", "::=")
    found = Grammar(grammar(inputs_with(*ids)))
    for text in ids:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        document = aligned(f"{escaped}: fits")
        assert found.accepts(document), text
        assert problems_of(document) == []


def test_hostile_ids_are_left_out() -> None:
    hostile = ['a" b', "line\nbreak", "\u2028", "x" * (MAX_ID_CHARACTERS + 1), "", None, {"a": 1}, "tab\there"]
    assert requirement_ids(inputs_with("FR001", *hostile)) == ["FR001"]
    many = inputs_with(*(f"FR{number:05d}" for number in range(1_000)))
    assert len(requirement_ids(many)) == MAX_IDS
    assert len(grammar(many)) < 8_000


@pytest.mark.parametrize(
    "requirements", ["", "[]", "a: [", "FR001: text\nFR002: text", "functional_requirements: text", "\x00"]
)
def test_requirements_that_cannot_be_read_leave_aligned_items_free(requirements: str) -> None:
    found = Grammar(grammar({CONCEPT: "A product", REQUIREMENTS: requirements}))
    assert found.accepts(aligned("FR001: text", "anything"))
    assert Grammar(grammar({CONCEPT: "A product"})).accepts(answer())


def test_no_id_no_second_item_and_no_length_is_forced() -> None:
    assert GRAMMAR.accepts(answer())
    assert GRAMMAR.accepts(answer(name='"x"', narrative='"x"'))


@pytest.mark.parametrize(
    "changes",
    [
        {"users": " []"},
        {"narrative": '""'},
        {"narrative": '" "'},
        {"narrative": '"\u00a0"'},
        {"narrative": '"' + "x" * (NARRATIVE_CHARACTERS + 1) + '"'},
        {"users": '\n- "x"' * (SHORT_LIST_ITEMS + 1)},
        {"aligned": '\n  - "x"' * (LONG_LIST_ITEMS + 1)},
        {"status": "conflicts"},
        {"status": '"aligned"'},
        {"name": "Desk"},
        {"name": "'Desk'"},
        {"name": '"a\\n"'},
        {"name": '"a\nb"'},
        {"name": '"a\tb"'},
        {"name": '"a\x7f"'},
        {"non_goals": " [ ]"},
        {"non_goals": '\n  - "indented"'},
    ],
)
def test_what_is_not_canonical_or_not_bounded_is_refused(changes: dict[str, str]) -> None:
    assert not GRAMMAR.accepts(answer(**changes))


def test_nothing_follows_the_answer() -> None:
    assert not GRAMMAR.accepts(answer() + "\n")
    assert not GRAMMAR.accepts("Here it is:\n" + answer())


def test_more_requirements_than_a_list_is_long_can_all_be_aligned() -> None:
    ids = [f"FR{number:03d}" for number in range(1, 19)]
    text = aligned(*(f"{name}: fits" for name in ids))
    assert Grammar(grammar(inputs_with(*ids))).accepts(text)
    assert problems_of(text) == []


def test_scripted_answers_are_admitted() -> None:
    for example in ROLE.examples(count=20, seed=5):
        found = Grammar(ROLE.grammar(example.inputs))
        assert found.accepts(ROLE.author(example, seed=1))


def assert_recorded_answers_are_admitted(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        text = ROLE.answer_text(ROLE.canonical(ROLE.parse(row["response"]).outputs))
        at = Grammar(ROLE.grammar(row)).refused_at(text)
        assert at is None, text[max(0, at - 60) : at + 20]


def test_sampled_recorded_answers_are_admitted_in_canonical_form(teacher_rows: list[dict[str, Any]]) -> None:
    assert_recorded_answers_are_admitted(teacher_rows[::20])


@pytest.mark.soak
def test_all_recorded_answers_are_admitted_in_canonical_form(teacher_rows: list[dict[str, Any]]) -> None:
    assert_recorded_answers_are_admitted(teacher_rows)
