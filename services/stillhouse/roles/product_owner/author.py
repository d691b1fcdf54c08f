"""A scripted product owner: short, correct answers to synthesized examples, the stand-in for a teacher.

The role object calls it for demos and tests. It reads the concept and the requirements as a model would, recognises the
vocabulary's sentences, and finds what is planted without looking at the labels. Answers other examples too, plainly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import combinations
from random import Random

from stillhouse.roles.product_owner import phrases, vocabulary
from stillhouse.roles.product_owner import wording as say
from stillhouse.roles.product_owner.metric import Requirement, read_requirements
from stillhouse.roles.product_owner.phrases import Phrase
from stillhouse.roles.product_owner.prompt import answer_text
from stillhouse.roles.product_owner.schema import Alignment, Review, Status, Vision, canonical_text, clean_text
from stillhouse.roles.product_owner.signature import CONCEPT, REQUIREMENTS, REVIEW, VISION
from stillhouse.roles.role import Example

_MAX_REQUIREMENTS = 20
_FIRST_DAY = date(2025, 1, 1)
_DAYS = 365


@dataclass(frozen=True)
class _Finding:
    """A gap or a conflict: the item that names it, the action that settles it, the ids it is about."""

    item: str
    action: str
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Sound:
    """A requirement that serves the vision."""

    id: str
    short: str
    capability: str


@dataclass(frozen=True)
class _Reading:
    """What the author understood of an example."""

    words: Mapping[str, str]
    sound: Sequence[_Sound]
    gaps: Sequence[_Finding]
    conflicts: Sequence[_Finding]
    requirements: int


def author(example: Example, *, seed: int) -> str:
    """The answer, in canonical form; the same example and seed give the same text. Labels do not matter."""
    concept, requirements = example.inputs.get(CONCEPT, ""), example.inputs.get(REQUIREMENTS, "")
    random = Random(f"{seed}/{concept}/{requirements}")  # noqa: S311 - no secret
    reading = _read(concept, read_requirements(requirements)[:_MAX_REQUIREMENTS])
    outputs = {VISION: canonical_text(_vision(reading, random)), REVIEW: canonical_text(_review(reading, random))}
    return answer_text(outputs)


def _read(concept: str, requirements: Sequence[Requirement]) -> _Reading:
    words = concept_words(concept)
    conflicts = [
        found for pair in combinations(requirements, 2) for found in (_conflict(*pair), _conflict(*pair[::-1])) if found
    ]
    contradicting = {text for finding in conflicts for text in finding.ids}
    gaps, sound = [], []
    for requirement in requirements:
        if requirement.id in contradicting:
            continue
        if gap := _vague(requirement):
            gaps.append(gap)
        else:
            sound.append(_sound(requirement))
    need = words.get("need", "")
    if need and not any(need in requirement.description for requirement in requirements):
        gaps.append(_Finding(say.MISSING.format(need=need), say.ADD.format(need=need)))
    return _Reading(words, sound, gaps, conflicts, len(requirements))


def concept_words(concept: str) -> dict[str, str]:
    """The vocabulary's words that a concept was made of, or general ones with its first words as the name."""
    concept = clean_text(concept)
    for saying in vocabulary.SAYINGS:
        for template in (saying + vocabulary.NEED_SAYING, saying):
            if words := vocabulary.read(template, concept):
                return words
    name = " ".join(concept.split()[:4])[: say.MAX_NAME_CHARACTERS].strip(" .,;:") or say.STRANGE_WORDS["name"]
    return {**say.STRANGE_WORDS, "name": name}


def _conflict(first: Requirement, second: Requirement) -> _Finding | None:
    for clash in phrases.CLASHES:
        if vocabulary.read(clash.first, first.description) is None:
            continue
        words = vocabulary.read(clash.second, second.description)
        if words is not None:
            ids = (first.id, second.id)
            reason = vocabulary.fill(clash.reason, words)
            return _Finding(f"{first.id} and {second.id}: {reason}", say.SETTLE.format(*ids), ids)
    return None


def _vague(requirement: Requirement) -> _Finding | None:
    for vague in phrases.VAGUE:
        if vague.text == requirement.description:
            action = vague.action.format(id=requirement.id)
            return _Finding(f"{requirement.id}: {vague.lack}", action, (requirement.id,))
    return None


def _sound(requirement: Requirement) -> _Sound:
    for section, _ in phrases.SECTIONS:
        for phrase in (*phrases.SOUND[section], phrases.NEED_PHRASE):
            words = vocabulary.read(phrase.text, requirement.description)
            if words is not None:
                return _recognised(requirement, phrase, words)
    plain = " ".join(clean_text(requirement.description).split()[:6]).strip(" .,;:")
    return _Sound(requirement.id, plain or say.PLAIN, vocabulary.capital(plain))


def _recognised(requirement: Requirement, phrase: Phrase, words: Mapping[str, str]) -> _Sound:
    return _Sound(requirement.id, vocabulary.fill(phrase.short, words), vocabulary.fill(phrase.capability, words))


def _vision(reading: _Reading, random: Random) -> Vision:
    words = {**reading.words, "n": str(random.choice((15, 20, 25, 30, 40)))}
    capabilities = [sound.capability for sound in reading.sound if sound.capability][:2]
    return Vision(
        product_name=vocabulary.capital(words["name"]),
        product_summary=_at_least(say.SUMMARY_CHARACTERS, say.SUMMARIES, say.SUMMARY_ENDINGS, words, random),
        target_users=(vocabulary.capital(words["actors"]), vocabulary.capital(words["others"])),
        value_proposition=_some(say.VALUES, 2, words, random),
        key_capabilities=tuple([*capabilities, *_some(say.CAPABILITIES, 2, words, random)][:2]),
        non_goals=_some(say.NON_GOALS, 1, words, random),
        success_metrics=_some(say.METRICS, 2, words, random),
        last_updated=(_FIRST_DAY + timedelta(days=random.randrange(_DAYS))).isoformat(),
    )


def _review(reading: _Reading, random: Random) -> Review:
    findings = [*reading.conflicts, *reading.gaps]
    status: Status = "misaligned" if reading.conflicts else "needs_adjustment" if reading.gaps else "aligned"
    words = {**reading.words, "sound": str(len(reading.sound)), "all": str(reading.requirements)}
    ids = [sound.id for sound in reading.sound if sound.id]
    chosen = random.sample(ids, min(2, len(ids)))
    next_steps = [
        template.format(id=text)
        for template, text in zip(random.sample(say.NEXT_STEPS, 2), [*chosen, "", ""], strict=False)
        if text
    ]
    actions = [finding.action for finding in findings] + next_steps + list(say.PLAIN_STEPS)
    return Review(
        status=status,
        summary=_summary(status, words, random),
        requirements_alignment=Alignment(
            aligned=tuple(f"{sound.id}: {sound.short}" if sound.id else sound.short for sound in reading.sound),
            gaps=tuple(finding.item for finding in reading.gaps),
            conflicts=tuple(finding.item for finding in reading.conflicts),
        ),
        recommended_actions=tuple(actions[: max(2, len(findings))]),
        narrative=_at_least(say.NARRATIVE_CHARACTERS, say.NARRATIVES[status], say.NARRATIVE_ENDINGS, words, random),
    )


def _summary(status: str, words: Mapping[str, str], random: Random) -> tuple[str, ...]:
    counts = say.COUNTS_SOUND if words["sound"] == words["all"] else say.COUNTS
    return (*_some(counts, 1, words, random), *_some(say.VERDICTS[status], 1, words, random))


def _some(templates: Sequence[str], count: int, words: Mapping[str, str], random: Random) -> tuple[str, ...]:
    return tuple(vocabulary.fill(template, words) for template in random.sample(templates, count))


def _at_least(
    characters: int, templates: Sequence[str], endings: Sequence[str], words: Mapping[str, str], random: Random
) -> str:
    """A filled template, with endings until it has that many characters or there are no more."""
    text = vocabulary.fill(random.choice(templates), words)
    for ending in random.sample(endings, len(endings)):
        if len(text) >= characters:
            break
        text = f"{text} {vocabulary.fill(ending, words)}"
    return text
