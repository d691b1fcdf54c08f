"""Reads a prompt of this role back into the inputs it asks about: the inverse of `prompt`, `teaching` and `repairing`.

The role object uses it to hold answers to a grammar, and `replying` to answer. It knows no labels: it has nothing but
the messages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from stillhouse.roles.product_owner import repairing
from stillhouse.roles.product_owner.signature import CONCEPT, EXISTING_VISION, REQUIREMENTS
from stillhouse.roles.role import Message

_INPUTS = re.compile(
    r"CONCEPT\n(?P<concept>.+?)\n\nREQUIREMENTS\n(?P<requirements>.+?)"
    r"(?:\n\nEXISTING VISION\n(?P<vision>.+?))?"
    rf"(?:\n\n{repairing.HEADING}\n.*)?",
    re.DOTALL,
)


def last_inputs(messages: Sequence[Message]) -> tuple[int, dict[str, str]] | None:
    """The last user message that holds inputs: its index, and they."""
    for index in reversed(range(len(messages))):
        if messages[index].role != "user":
            continue
        if match := _INPUTS.fullmatch(messages[index].content.strip()):
            found = {CONCEPT: match["concept"], REQUIREMENTS: match["requirements"], EXISTING_VISION: match["vision"]}
            return index, {name: text for name, text in found.items() if text}
    return None


def inputs_of(messages: Sequence[Message]) -> dict[str, str] | None:
    """The inputs of the question that stands last; None where that is no question of this role, or asks for repair."""
    asked = last_inputs(messages)
    if asked is None or asked[0] != len(messages) - 1 or f"\n\n{repairing.HEADING}\n" in messages[-1].content:
        return None
    return asked[1]
