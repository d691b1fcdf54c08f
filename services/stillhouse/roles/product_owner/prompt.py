"""The prompt: the chat messages that ask a model for a vision and a review, and the answer it is trained to write.

Teacher, trainer, student and DSPy program all speak this text; a change of one byte needs a new role version.
"""

from __future__ import annotations

from collections.abc import Mapping

from stillhouse.errors import InvalidArgument
from stillhouse.roles.product_owner.signature import (
    BLOCK_LABELS,
    CONCEPT,
    EXISTING_VISION,
    INPUT_NAMES,
    INSTRUCTIONS,
    OPTIONAL_INPUTS,
    OUTPUT_NAMES,
    REQUIREMENTS,
)
from stillhouse.roles.role import Guidance, Message

ANSWER_FORM = """\
Answer with two YAML blocks and nothing else:
```yaml VISION
product_name, product_summary, target_users, value_proposition, key_capabilities, non_goals, \
success_metrics, last_updated
```
```yaml REVIEW
status (aligned, needs_adjustment or misaligned), summary, requirements_alignment (aligned, gaps, conflicts), \
recommended_actions, narrative
```
Use short sentences. Name only requirement ids that are in the requirements."""
OWN_GUIDANCE = Guidance(INSTRUCTIONS)
"""What students are trained with."""
SYSTEM = f"{INSTRUCTIONS} {ANSWER_FORM}"

_REQUIRED_INPUTS = tuple(name for name in INPUT_NAMES if name not in OPTIONAL_INPUTS)
_HEADINGS = ((CONCEPT, "CONCEPT"), (REQUIREMENTS, "REQUIREMENTS"), (EXISTING_VISION, "EXISTING VISION"))


def user_text(inputs: Mapping[str, str]) -> str:
    """The user's message: each input that is given, under its heading."""
    parts = [(heading, (inputs.get(name) or "").strip()) for name, heading in _HEADINGS]
    return "\n\n".join(f"{heading}\n{text}" for heading, text in parts if text)


def messages(inputs: Mapping[str, str], guidance: Guidance = OWN_GUIDANCE) -> list[Message]:
    """System message, a user and an assistant message for each whole demo, user message.

    A demo that lacks a required input or an output is left out: it would teach an answer that the parser refuses.
    Raises InvalidArgument if a required input is missing or blank.
    """
    for name in _REQUIRED_INPUTS:
        if not (inputs.get(name) or "").strip():
            raise InvalidArgument(f"input {name!r} is missing or blank: give its text", field=name)
    turns = [Message("system", f"{guidance.instructions} {ANSWER_FORM}")]
    for demo in guidance.demos:
        if all((demo.get(name) or "").strip() for name in (*_REQUIRED_INPUTS, *OUTPUT_NAMES)):
            turns += [Message("user", user_text(demo)), Message("assistant", answer_text(demo))]
    return [*turns, Message("user", user_text(inputs))]


def answer_text(outputs: Mapping[str, str]) -> str:
    """Both outputs, each in its fenced block, in order."""
    return fenced({name: (outputs.get(name) or "").strip() for name in OUTPUT_NAMES})


def fenced(outputs: Mapping[str, str]) -> str:
    """Those outputs that are there, each in its fenced block, in order."""
    texts = ((BLOCK_LABELS[name], outputs[name].strip("\n")) for name in OUTPUT_NAMES if name in outputs)
    return "\n".join(f"```yaml {label}\n{text}\n```" for label, text in texts)
