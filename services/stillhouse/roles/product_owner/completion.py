"""Gives a user's own concept the requirements that it lacks, from the synthesizer's sentences.

The role object calls it before a teacher is asked. Nothing is planted; the label `requirements` says who wrote them.
"""

from __future__ import annotations

from random import Random

from stillhouse.errors import InvalidArgument
from stillhouse.roles.product_owner import vocabulary
from stillhouse.roles.product_owner.author import concept_words
from stillhouse.roles.product_owner.concepts import TIER, sound_requirements
from stillhouse.roles.product_owner.signature import CONCEPT, REQUIREMENTS
from stillhouse.roles.role import Example

LABEL = "requirements"
SYNTHESIZED = "synthesized"
USUAL_TIER = "medium"

_STRANGE_WORDS = {
    "segment": "the customer",
    "region": "the home market",
    "actors": "members",
    "others": "team leads",
    "things": "entries",
}
"""Words for requirements of a concept that is not the vocabulary's: true of nearly any product."""


def complete(example: Example, *, seed: int) -> Example:
    """The example with requirements; itself where it has some.

    Their number is that of the label `tier`, else of what the concept says of its size, else medium. Raises
    InvalidArgument without a concept.
    """
    if (example.inputs.get(REQUIREMENTS) or "").strip():
        return example
    concept = (example.inputs.get(CONCEPT) or "").strip()
    if not concept:
        raise InvalidArgument(f"input {CONCEPT!r} is missing or blank: requirements are written from it", field=CONCEPT)
    words = concept_words(concept)
    if "tier" not in words:
        words |= _STRANGE_WORDS
    random = Random(f"{seed}/requirements/{concept}")  # noqa: S311 - no secret
    text = sound_requirements(random, _tier(example, words.get("tier", "")), words, concept)
    return Example({**example.inputs, REQUIREMENTS: text}, {**example.labels, LABEL: SYNTHESIZED})


def _tier(example: Example, saying: str) -> vocabulary.Tier:
    tiers = {tier.name: tier for tier in vocabulary.TIERS}
    said = next((tier.name for tier in vocabulary.TIERS if saying in tier.sayings), USUAL_TIER)
    labelled = example.labels.get(TIER, "").strip().lower()
    return tiers.get(labelled, tiers[said])
