"""The scripted author: valid, clean, short answers that find what was planted."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator
from functools import cache

import yaml

from stillhouse.roles.product_owner import ROLE, vocabulary
from stillhouse.roles.product_owner.author import author
from stillhouse.roles.product_owner.concepts import PLANTED_CONFLICTS, PLANTED_GAPS, examples
from stillhouse.roles.product_owner.metric import read_requirements
from stillhouse.roles.product_owner.signature import CONCEPT, REQUIREMENTS, REVIEW
from stillhouse.roles.product_owner.vocabulary import MAX_SENTENCE_CHARACTERS
from stillhouse.roles.role import Example, ParsedAnswer

MAX_CHARACTERS = 1_300
"""At most 398 SmolLM2 tokens, measured over 300 examples; 355 on average."""


@cache
def answered() -> tuple[tuple[Example, str, ParsedAnswer], ...]:
    found = []
    for example in examples(count=320, seed=11, planted=0.5):
        text = author(example, seed=1)
        found.append((example, text, ROLE.parse(text)))
    return tuple(found)


def review_of(parsed: ParsedAnswer) -> dict[str, object]:
    review: dict[str, object] = yaml.safe_load(parsed.outputs[REVIEW])
    return review


def test_answers_are_valid_canonical_and_free_of_guard_findings() -> None:
    for example, text, parsed in answered():
        assert parsed.problems == ()
        assert ROLE.problems(parsed.outputs) == []
        assert ROLE.answer_text(ROLE.canonical(parsed.outputs)) == text
        assert ROLE.guards(example.inputs, parsed.outputs, ROLE.guard_names) == [], text


def test_answers_score_well() -> None:
    scores = [ROLE.score(example.inputs, parsed.outputs).score for example, _, parsed in answered()]
    assert statistics.fmean(scores) >= 0.93
    assert min(scores) >= 0.85


def test_answers_are_short_and_distinct() -> None:
    texts = [text for _, text, _ in answered()]
    assert max(map(len, texts)) <= MAX_CHARACTERS
    assert len(set(texts)) == len(texts)


def test_planted_gaps_and_conflicts_are_found_and_nothing_else() -> None:
    for example, _, parsed in answered():
        review = review_of(parsed)
        alignment = review["requirements_alignment"]
        gaps, conflicts = (json.loads(example.labels[name]) for name in (PLANTED_GAPS, PLANTED_CONFLICTS))
        assert isinstance(alignment, dict)
        assert len(alignment["gaps"]) == len(gaps)
        for gap in gaps:
            assert any(gap in item for item in alignment["gaps"])
        assert len(alignment["conflicts"]) == (1 if conflicts else 0)
        for name in conflicts:
            assert name in alignment["conflicts"][0]
        assert review["status"] == ("misaligned" if conflicts else "needs_adjustment" if gaps else "aligned")


def test_every_requirement_is_named_once_and_only_sound_ones_are_aligned() -> None:
    for example, _, parsed in answered():
        alignment = review_of(parsed)["requirements_alignment"]
        assert isinstance(alignment, dict)
        ids = [requirement.id for requirement in read_requirements(example.inputs[REQUIREMENTS])]
        named = [
            name for items in alignment.values() for item in items for name in re.findall(r"\b[A-Z]+\d{3}\b", item)
        ]
        assert sorted(named) == sorted(ids)
        faulty = {*json.loads(example.labels[PLANTED_GAPS]), *json.loads(example.labels[PLANTED_CONFLICTS])}
        assert not faulty & {item.split(":")[0] for item in alignment["aligned"]}


def test_labels_are_not_looked_at() -> None:
    example, text, _ = answered()[5]
    assert author(Example(inputs=example.inputs), seed=1) == text


def test_the_same_seed_writes_the_same_answer_and_another_seed_another() -> None:
    example = answered()[0][0]
    assert author(example, seed=1) == author(example, seed=1)
    assert len({author(example, seed=seed) for seed in range(10)}) == 10


def test_the_author_answers_a_strange_example_validly() -> None:
    requirements = yaml.safe_dump(
        {
            "functional_requirements": [
                {"id": "US-1", "description": 'Do "this" \\ that\nand more, over and over again, for everyone'},
                {"id": "US-2"},
                {"description": "No id here"},
            ]
        }
    )
    for concept in ("Ein Werkzeug für Gärtner", "", "x" * 500, "One. Two: three"):
        for text in (requirements, "", "a: [", "- 1"):
            answer = author(Example({CONCEPT: concept, REQUIREMENTS: text}), seed=2)
            parsed = ROLE.parse(answer)
            assert parsed.problems == ()
            assert ROLE.problems(parsed.outputs) == []


def test_a_long_concept_full_of_the_vocabularys_words_is_read_in_no_time() -> None:
    concept = "plans for teams in towns, big. They and we, you " * 2000
    assert max(map(len, sentences())) <= MAX_SENTENCE_CHARACTERS
    answer = author(Example({CONCEPT: concept, REQUIREMENTS: ""}), seed=2)
    assert 'product_name: "Plans for teams in"' in answer


def sentences() -> Iterator[str]:
    """Each saying with its longest words."""
    longest = {name: max(words, key=len) for name, words in choices().items()}
    return (vocabulary.fill(saying + vocabulary.NEED_SAYING, longest) for saying in vocabulary.SAYINGS)


def choices() -> dict[str, list[str]]:
    domains = vocabulary.DOMAINS
    return {
        "name": [f"{name} {end}" for domain in domains for name in domain.names for end in vocabulary.NAME_ENDINGS],
        "things": [domain.things for domain in domains],
        "actors": [domain.actors for domain in domains],
        "others": [domain.others for domain in domains],
        "segment": list(vocabulary.SEGMENTS),
        "region": list(vocabulary.REGIONS),
        "focus": list(vocabulary.FOCUSES),
        "tier": [saying for tier in vocabulary.TIERS for saying in tier.sayings],
        "need": list(vocabulary.NEEDS),
    }


def test_more_requirements_than_the_models_take_still_give_a_valid_answer() -> None:
    items = [{"id": f"FR{number:03d}", "description": "Provide suitable reports."} for number in range(1, 60)]
    text = yaml.safe_dump({"functional_requirements": items})
    parsed = ROLE.parse(author(Example({CONCEPT: "A desk", REQUIREMENTS: text}), seed=2))
    assert ROLE.problems(parsed.outputs) == []
