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
from stillhouse.roles.role import Message

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
SYSTEM = f"{INSTRUCTIONS} {ANSWER_FORM}"

_HEADINGS = ((CONCEPT, "CONCEPT"), (REQUIREMENTS, "REQUIREMENTS"), (EXISTING_VISION, "EXISTING VISION"))


def user_text(inputs: Mapping[str, str]) -> str:
    """The user's message: each input that is given, under its heading."""
    parts = [(heading, (inputs.get(name) or "").strip()) for name, heading in _HEADINGS]
    return "\n\n".join(f"{heading}\n{text}" for heading, text in parts if text)


def messages(inputs: Mapping[str, str]) -> list[Message]:
    """System and user message. Raises InvalidArgument if a required input is missing or blank."""
    for name in INPUT_NAMES:
        if name not in OPTIONAL_INPUTS and not (inputs.get(name) or "").strip():
            raise InvalidArgument(f"input {name!r} is missing or blank: give its text", field=name)
    return [Message("system", SYSTEM), Message("user", user_text(inputs))]


def answer_text(outputs: Mapping[str, str]) -> str:
    """Both outputs, each in its fenced block, in order."""
    return fenced({name: (outputs.get(name) or "").strip() for name in OUTPUT_NAMES})


def fenced(outputs: Mapping[str, str]) -> str:
    """Those outputs that are there, each in its fenced block, in order."""
    texts = ((BLOCK_LABELS[name], outputs[name].strip("\n")) for name in OUTPUT_NAMES if name in outputs)
    return "\n".join(f"```yaml {label}\n{text}\n```" for label, text in texts)
