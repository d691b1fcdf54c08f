"""Synthesizes product concepts with requirements, some with planted gaps and conflicts, from a seed.

The role object calls it for demos, tests and probes. What is planted stands in the labels, which no model sees, so a
review can be held against the truth. Knows nothing of answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random

import yaml

from stillhouse.errors import InvalidArgument
from stillhouse.roles.product_owner import phrases, vocabulary
from stillhouse.roles.product_owner.phrases import Clash, Phrase, Vague
from stillhouse.roles.product_owner.signature import CONCEPT, REQUIREMENTS
from stillhouse.roles.role import Example

TIER = "tier"
PLANTED_GAPS = "planted_gaps"
PLANTED_CONFLICTS = "planted_conflicts"
"""Labels. The planted ones are JSON lists: a gap is the id of a requirement that is too vague, or the thing that the
concept asks for and no requirement covers; the conflicts are the two ids that contradict each other."""

_MAX_ATTEMPTS = 1000


@dataclass
class _Plan:
    """What is planted into one example; `need` is what the concept asks for beside the usual."""

    vague: list[Vague] = field(default_factory=list)
    clash: Clash | None = None
    need: str = ""
    covered: bool = True

    def topics(self) -> set[str]:
        return {vague.topic for vague in self.vague} | set(self.clash.topics if self.clash else ())

    def planted(self, section: str) -> list[tuple[str, tuple[int, ...], Vague | Clash]]:
        """The planted sentences of a section, with the numbers that fill them and what they are planted for."""
        found: list[tuple[str, tuple[int, ...], Vague | Clash]] = []
        found += [(vague.text, (), vague) for vague in self.vague if vague.section == section]
        if self.clash and self.clash.first_section == section:
            found.append((self.clash.first, (), self.clash))
        if self.clash and self.clash.second_section == section:
            found.append((self.clash.second, self.clash.numbers, self.clash))
        return found


def examples(*, count: int, seed: int, planted: float = 0.5) -> Iterator[Example]:
    """`count` examples with distinct concepts; a longer run of the same seed begins with a shorter one.

    `planted` is the share that has planted gaps or conflicts. Tiers take turns. Raises InvalidArgument on a negative
    count or a share outside [0, 1].
    """
    if count < 0:
        raise InvalidArgument(f"count is {count}: give 0 or more", field="count")
    if not 0.0 <= planted <= 1.0:
        raise InvalidArgument(f"planted is {planted}: give a share from 0 to 1", field="planted")
    return _examples(count, seed, planted)


def _examples(count: int, seed: int, planted: float) -> Iterator[Example]:
    # Digests, so that a long run holds 16 bytes a concept and not its text.
    seen: set[bytes] = set()
    for index in range(count):
        for attempt in range(_MAX_ATTEMPTS):
            example = _example(Random(f"{seed}/{index}/{attempt}"), index, planted)  # noqa: S311 - no secret
            concept = " ".join(example.inputs[CONCEPT].lower().split())
            key = blake2b(concept.encode(), digest_size=16).digest()
            if key not in seen:
                break
        else:
            raise InvalidArgument(f"the vocabulary has no {count} distinct concepts: ask for fewer", field="count")
        seen.add(key)
        yield example


def _example(random: Random, index: int, planted: float) -> Example:
    tier = vocabulary.TIERS[index % len(vocabulary.TIERS)]
    domain = random.choice(vocabulary.DOMAINS)
    plan = _plan(random) if random.random() < planted else _Plan()
    if not plan.need and random.random() < 0.2:
        plan.need = random.choice(vocabulary.NEEDS)
    words = {
        "name": f"{random.choice(domain.names)} {random.choice(vocabulary.NAME_ENDINGS)}",
        "things": domain.things,
        "actors": domain.actors,
        "others": domain.others,
        "segment": random.choice(vocabulary.SEGMENTS),
        "region": random.choice(vocabulary.REGIONS),
        "focus": random.choice(vocabulary.FOCUSES),
        "tier": random.choice(tier.sayings),
        "need": plan.need,
    }
    concept = vocabulary.fill(random.choice(vocabulary.SAYINGS), words)
    if plan.need:
        concept += vocabulary.fill(vocabulary.NEED_SAYING, words)
    sections, planted_ids = _sections(random, tier, words, plan)
    gaps = [planted_ids[vague.text][0] for vague in plan.vague] + ([plan.need] if not plan.covered else [])
    conflicts = [planted_ids[text][0] for text in (plan.clash.first, plan.clash.second)] if plan.clash else []
    return Example(
        inputs={CONCEPT: concept, REQUIREMENTS: _yaml(random, words, concept, sections)},
        labels={TIER: tier.name, PLANTED_GAPS: json.dumps(gaps), PLANTED_CONFLICTS: json.dumps(conflicts)},
    )


def sound_requirements(random: Random, tier: vocabulary.Tier, words: Mapping[str, str], concept: str) -> str:
    """Requirements, as YAML, that serve a concept made of these words (`need` may be absent), with nothing planted."""
    need = words.get("need", "")
    filled = {**words, "need": need}
    sections, _ = _sections(random, tier, filled, _Plan(need=need))
    return _yaml(random, filled, concept, sections)


def _plan(random: Random) -> _Plan:
    kind = random.choice(("vague", "missing", "clash", "clash", "vague and missing", "vague and clash"))
    plan = _Plan()
    if "clash" in kind:
        plan.clash = random.choice(phrases.CLASHES)
    if "vague" in kind:
        plan.vague = [random.choice([vague for vague in phrases.VAGUE if vague.topic not in plan.topics()])]
        # One constraint is all that a simple product has, and a clash may need it.
        if plan.clash:
            open_sections = [phrases.FUNCTIONAL, phrases.NON_FUNCTIONAL]
            plan.vague = [vague for vague in plan.vague if vague.section in open_sections]
    if "missing" in kind:
        plan.need, plan.covered = random.choice(vocabulary.NEEDS), False
    return plan


def _sections(
    random: Random, tier: vocabulary.Tier, words: dict[str, str], plan: _Plan
) -> tuple[dict[str, list[dict[str, str]]], dict[str, list[str]]]:
    """The requirements by section, and the ids that each planted sentence (unfilled) got."""
    used = plan.topics()
    counts = (tier.functional, tier.non_functional, tier.constraints)
    sections: dict[str, list[dict[str, str]]] = {}
    ids: dict[str, list[str]] = {}
    for (section, prefix), count in zip(phrases.SECTIONS, counts, strict=True):
        chosen = [(text, numbers) for text, numbers, _ in plan.planted(section)]
        if section == phrases.FUNCTIONAL and plan.need and plan.covered:
            chosen.append((phrases.NEED_PHRASE.text, ()))
        chosen += [(phrase.text, phrase.numbers) for phrase in _sound(random, section, count - len(chosen), used)]
        random.shuffle(chosen)
        sections[section] = []
        for number, (text, numbers) in enumerate(chosen, start=1):
            ids.setdefault(text, []).append(f"{prefix}{number:03d}")
            filled = vocabulary.fill(text, {**words, "n": str(random.choice(numbers or (0,)))})
            sections[section].append(
                {"id": ids[text][-1], "description": filled, "priority": random.choice(vocabulary.PRIORITIES)}
            )
    return sections, ids


def _sound(random: Random, section: str, count: int, used: set[str]) -> list[Phrase]:
    """`count` sound requirements of topics that are not in `used`, to which theirs are added."""
    found: list[Phrase] = []
    candidates = list(phrases.SOUND[section])
    random.shuffle(candidates)
    for phrase in candidates:
        if len(found) < count and phrase.topic not in used:
            used.add(phrase.topic)
            found.append(phrase)
    return found


def _yaml(random: Random, words: dict[str, str], concept: str, sections: dict[str, list[dict[str, str]]]) -> str:
    head = {"title": f"{words['name']} - {vocabulary.capital(words['focus'])}"}
    if random.random() < 0.5:
        head["description"] = vocabulary.fill("{name} brings {focus} to {segment} in {region}.", words)
    tail = {"meta": {"original_request": concept}} if random.random() < 0.25 else {}
    text: str = yaml.safe_dump({**head, **sections, **tail}, sort_keys=False, allow_unicode=True)
    return text
