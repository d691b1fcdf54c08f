"""Spoils good outputs until they score below a usual threshold: thin lists, short texts, uncovered requirements.

Called by `replying`, which stands in for a teacher that has a bad day. What comes out still satisfies the models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from stillhouse.roles.product_owner import guards, metric
from stillhouse.roles.product_owner.schema import MODELS, canonical_text, load_mapping
from stillhouse.roles.product_owner.signature import REVIEW, VISION

BELOW = 0.80
"""The least score that teachers are usually asked for."""

_SUMMARIES = ("A tool that makes daily work easier.", "Software for teams of any kind.", "A product for the concept.")
_NARRATIVES = ("It mostly looks fine, with some open points.", "More thought may be needed here and there.")
_FINDINGS = ("The scope looks reasonable.", "There are some requirements.", "It could be better.")
_ACTIONS = ("Talk to the team.", "Look at it again later.", "Think about the next steps.")

Change = Callable[[dict[str, Any], Random], None]


def spoiled(
    inputs: Mapping[str, str], outputs: Mapping[str, str], wanted: Sequence[str], random: Random
) -> dict[str, str]:
    """The outputs with the wanted ones changed for the worse, in an order by chance, until they score below BELOW.

    Changes at which a guard fires come last, so that it is the score for which most are refused. A wanted vision
    beside a very good review can't always get there: it is then as poor as it can be.
    """
    changes = [(name, change) for name in wanted for change in _CHANGES[name]]
    waiting = random.sample(changes, len(changes))
    found = dict(outputs)
    for last_resort in (False, True):
        refused = []
        for name, change in waiting:
            if metric.score(inputs, found).score < BELOW:
                return found
            changed = {**found, name: _changed(name, found[name], change, random)}
            if last_resort or not guards.find(inputs, changed, guards.GUARD_NAMES):
                found = changed
            else:
                refused.append((name, change))
        waiting = refused
    return found


def _changed(name: str, text: str, change: Change, random: Random) -> str:
    value = _copied(load_mapping(text))
    change(value, random)
    return canonical_text(MODELS[name].model_validate(value))


def _copied(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        key: _copied(value) if isinstance(value, dict) else list(value) if isinstance(value, list) else value
        for key, value in mapping.items()
    }


def _first_only(key: str) -> Change:
    def change(output: dict[str, Any], _: Random) -> None:
        output[key] = output[key][:1]

    return change


def _says(key: str, texts: Sequence[str]) -> Change:
    def change(output: dict[str, Any], random: Random) -> None:
        output[key] = random.choice(texts)

    return change


def _lists_one(key: str, texts: Sequence[str]) -> Change:
    def change(output: dict[str, Any], random: Random) -> None:
        output[key] = [random.choice(texts)]

    return change


def _aligns_one(output: dict[str, Any], random: Random) -> None:
    alignment = output["requirements_alignment"]
    output["requirements_alignment"] = {
        **alignment,
        "aligned": random.sample(alignment["aligned"], min(1, len(alignment["aligned"]))),
    }


def _finds_nothing(output: dict[str, Any], _: Random) -> None:
    output["requirements_alignment"] = {**output["requirements_alignment"], "gaps": [], "conflicts": []}
    output["status"] = "aligned"


_CHANGES: Mapping[str, Sequence[Change]] = {
    VISION: (
        *(_first_only(key) for key in metric.LISTS_OF_VISION),
        _says("product_summary", _SUMMARIES),
    ),
    REVIEW: (
        _says("narrative", _NARRATIVES),
        _lists_one("summary", _FINDINGS),
        _lists_one("recommended_actions", _ACTIONS),
        _aligns_one,
        _finds_nothing,
    ),
}
