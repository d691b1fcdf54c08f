"""The synthesizer: distinct, reproducible concepts whose planted faults stand in the labels."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from itertools import islice, permutations

import pytest
import yaml

from stillhouse.errors import InvalidArgument
from stillhouse.roles.product_owner import ROLE, phrases, vocabulary
from stillhouse.roles.product_owner.concepts import PLANTED_CONFLICTS, PLANTED_GAPS, TIER, examples
from stillhouse.roles.product_owner.signature import CONCEPT, REQUIREMENTS
from stillhouse.roles.role import Example

SECTIONS = dict(phrases.SECTIONS)


def group_keys(found: list[Example]) -> set[str]:
    return {ROLE.group_key(example.inputs) for example in found}


def requirements_of(example: Example) -> dict[str, str]:
    document = yaml.safe_load(example.inputs[REQUIREMENTS])
    return {item["id"]: item["description"] for section in SECTIONS for item in document[section]}


def test_a_thousand_examples_have_distinct_concepts() -> None:
    # Making the YAML is most of the time, so a twentieth of it is made here; `make soak` makes all.
    assert len(group_keys(list(examples(count=1_000, seed=1)))) == 1_000


@pytest.mark.soak
def test_all_of_twenty_thousand_examples_have_distinct_concepts() -> None:
    keys = {ROLE.group_key(example.inputs) for example in examples(count=20_000, seed=1)}
    assert len(keys) == 20_000


def test_the_same_arguments_give_the_same_bytes_in_every_release() -> None:
    digest = hashlib.sha256()
    for example in examples(count=60, seed=11, planted=0.3):
        digest.update(json.dumps([example.inputs, example.labels], sort_keys=True).encode())
    assert digest.hexdigest() == "66325c04644371484cb789dccc75f47078db64b0f315f510f5fc2cfca9e65e0d"


def test_the_role_plants_in_half_of_its_examples_unless_told_otherwise() -> None:
    assert list(ROLE.examples(count=30, seed=2)) == list(examples(count=30, seed=2, planted=0.5))
    assert list(ROLE.examples(count=30, seed=2, planted=0.3)) == list(examples(count=30, seed=2, planted=0.3))


def test_a_longer_run_begins_with_a_shorter_one() -> None:
    assert list(examples(count=10, seed=7)) == list(islice(examples(count=20, seed=7), 10))


def test_the_same_seed_gives_the_same_examples_and_another_gives_others() -> None:
    assert list(examples(count=20, seed=3)) == list(examples(count=20, seed=3))
    first, second = group_keys(list(examples(count=400, seed=3))), group_keys(list(examples(count=400, seed=4)))
    assert len(first & second) <= 4


def test_tiers_take_turns_and_have_their_numbers_of_requirements() -> None:
    found = list(examples(count=30, seed=2, planted=0.0))
    assert Counter(example.labels[TIER] for example in found) == {"simple": 10, "medium": 10, "corporate": 10}
    tiers = {tier.name: tier for tier in vocabulary.TIERS}
    for example in found:
        document = yaml.safe_load(example.inputs[REQUIREMENTS])
        tier = tiers[example.labels[TIER]]
        counts = (tier.functional, tier.non_functional, tier.constraints)
        assert tuple(len(document[section]) for section in SECTIONS) == counts


def test_requirements_have_numbered_ids_distinct_texts_and_priorities() -> None:
    for example in examples(count=200, seed=4, planted=0.5):
        document = yaml.safe_load(example.inputs[REQUIREMENTS])
        for section, prefix in SECTIONS.items():
            ids = [item["id"] for item in document[section]]
            assert ids == [f"{prefix}{number:03d}" for number in range(1, len(ids) + 1)]
            assert {item["priority"] for item in document[section]} <= {"High", "Medium", "Low"}
        texts = list(requirements_of(example).values())
        assert len(set(texts)) == len(texts)
        assert not any("{" in text for text in [*texts, example.inputs[CONCEPT]])


def test_the_planted_share_is_kept_and_labelled() -> None:
    def share(planted: float) -> float:
        found = list(examples(count=400, seed=6, planted=planted))
        return sum(e.labels[PLANTED_GAPS] != "[]" or e.labels[PLANTED_CONFLICTS] != "[]" for e in found) / len(found)

    assert share(0.0) == 0.0
    assert share(1.0) == 1.0
    assert 0.22 < share(0.3) < 0.38


def test_planted_gaps_are_vague_requirements_or_uncovered_needs() -> None:
    vague = {text.text for text in phrases.VAGUE}
    for example in examples(count=200, seed=8, planted=1.0):
        requirements = requirements_of(example)
        gaps = json.loads(example.labels[PLANTED_GAPS])
        for gap in gaps:
            if gap in requirements:
                assert requirements[gap] in vague
            else:
                assert gap in example.inputs[CONCEPT]
                assert not any(gap in text for text in requirements.values())
        assert {name for name, text in requirements.items() if text in vague} <= set(gaps)


def test_planted_conflicts_name_two_requirements_that_clash() -> None:
    seen: set[str] = set()
    for example in examples(count=300, seed=9, planted=1.0):
        requirements = requirements_of(example)
        clashing = [
            [first, second]
            for first, second in permutations(requirements, 2)
            for clash in phrases.CLASHES
            if vocabulary.read(clash.first, requirements[first]) is not None
            and vocabulary.read(clash.second, requirements[second]) is not None
        ]
        planted = json.loads(example.labels[PLANTED_CONFLICTS])
        assert clashing == ([planted] if planted else [])
        seen |= {clash.reason for clash in phrases.CLASHES for name in planted if requirements[name] == clash.second}
    assert len(seen) >= 6


def test_sound_requirements_do_not_share_a_topic() -> None:
    for example in examples(count=150, seed=10, planted=0.5):
        topics = Counter(
            phrase.topic
            for text in requirements_of(example).values()
            for section in SECTIONS
            for phrase in phrases.SOUND[section]
            if vocabulary.read(phrase.text, text) is not None
        )
        assert all(count == 1 for count in topics.values()), topics


def test_vocabulary_reads_back_what_it_filled() -> None:
    words = {"others": "ward managers", "n": "30", "things": "brew logs"}
    template = "{Others} wait {n} hours for {things}."
    filled = vocabulary.fill(template, words)
    assert filled == "Ward managers wait 30 hours for brew logs."
    assert vocabulary.read(template, filled) == words
    assert vocabulary.read(template, "Something else.") is None


@pytest.mark.parametrize("planted", [-0.1, 1.1])
def test_a_share_outside_zero_to_one_is_refused(planted: float) -> None:
    with pytest.raises(InvalidArgument, match="planted"):
        examples(count=1, seed=1, planted=planted)


def test_a_negative_count_is_refused_and_none_is_none() -> None:
    with pytest.raises(InvalidArgument, match="count"):
        examples(count=-1, seed=1)
    assert list(examples(count=0, seed=1)) == []
