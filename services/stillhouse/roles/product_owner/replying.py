"""The scripted author behind a chat: answers what a prompt of this role asks for.

The role object calls it for whoever stands in for a teacher's server. It has nothing but the messages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from stillhouse.roles.product_owner import adapter, careless, prompt, repairing, teaching
from stillhouse.roles.product_owner.asked import last_inputs
from stillhouse.roles.product_owner.author import author
from stillhouse.roles.product_owner.signature import BLOCK_LABELS, CONCEPT, OUTPUT_NAMES, REQUIREMENTS
from stillhouse.roles.role import Example, Message

UNKNOWN_PROMPT = "I am a scripted product owner: give me a CONCEPT and its REQUIREMENTS."

_LABEL_OF = {label: name for name, label in BLOCK_LABELS.items()}
_WANTED = re.compile(r"^```yaml (" + "|".join(_LABEL_OF) + r")$", re.MULTILINE)


def reply(messages: Sequence[Message], schema: Mapping[str, Any] | None, *, seed: int, careless_answer: bool) -> str:
    """The answer to the last inputs among the messages, in JSON if there is a schema, else in fenced blocks."""
    asked = last_inputs(messages)
    wanted = _wanted(messages, schema)
    if asked is None or not wanted:
        return UNKNOWN_PROMPT
    index, inputs = asked
    outputs = dict(adapter.parse(author(Example(inputs), seed=seed)).outputs)
    if careless_answer:
        kept = _kept(messages[index + 1 :], wanted)
        random = Random(f"{seed}/careless/{inputs[CONCEPT]}/{inputs[REQUIREMENTS]}")  # noqa: S311 - no secret
        outputs = careless.spoiled(inputs, {**outputs, **kept}, wanted, random)
    chosen = {name: outputs[name] for name in wanted}
    if schema is None:
        return prompt.fenced(chosen)
    return teaching.as_json({name: teaching.json_value(name, text) for name, text in chosen.items()})


def _wanted(messages: Sequence[Message], schema: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Outputs that the answer is to have: those of the schema, those that a repair asks for, else all."""
    if schema is not None:
        properties = schema.get("properties")
        return tuple(name for name in OUTPUT_NAMES if isinstance(properties, Mapping) and name in properties)
    last = messages[-1].content if messages else ""
    _, heading, request = last.rpartition(f"{repairing.HEADING}\n")
    if not heading:
        return OUTPUT_NAMES
    labels = _WANTED.findall(request)
    return tuple(name for name in OUTPUT_NAMES if BLOCK_LABELS[name] in labels) or OUTPUT_NAMES


def _kept(turns: Sequence[Message], wanted: Sequence[str]) -> dict[str, str]:
    """What the answer is to complete: outputs in the assistant's turns after the inputs that are not asked for."""
    kept: dict[str, str] = {}
    for turn in turns:
        if turn.role == "assistant":
            kept |= adapter.parse(turn.content).outputs
            kept |= teaching.parse_structured(turn.content).outputs
    return {name: text for name, text in kept.items() if name not in wanted}
