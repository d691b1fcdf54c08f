"""The fields of the role: names, what each holds, and the keys of the two outputs in their order.

The prompt, the parser, the DSPy program and the grammar read them here. Knows no DSPy and no text of a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NAME = "product_owner"
VERSION = 1

CONCEPT = "concept"
REQUIREMENTS = "requirements_yaml"
EXISTING_VISION = "existing_vision"
VISION = "product_vision"
REVIEW = "product_owner_review"


@dataclass(frozen=True)
class Field:
    """An input or output: its name, and what it holds, for a person and for DSPy."""

    name: str
    description: str


INPUT_FIELDS = (
    Field(CONCEPT, "The product concept, in a sentence or a paragraph."),
    Field(REQUIREMENTS, "The requirements as YAML, each with an id and a description."),
    Field(EXISTING_VISION, "The product's vision so far, as YAML; may be empty."),
)
OUTPUT_FIELDS = (
    Field(VISION, "The product vision as YAML."),
    Field(REVIEW, "The review of the requirements against the vision, as YAML."),
)
OPTIONAL_INPUTS = frozenset({EXISTING_VISION})
INPUT_NAMES = tuple(field.name for field in INPUT_FIELDS)
OUTPUT_NAMES = tuple(field.name for field in OUTPUT_FIELDS)

INSTRUCTIONS = "You are a product owner. Write a product vision for the concept and review its requirements against it."
"""What a prompt optimizer may replace; the form of the answer is the prompt's."""

BLOCK_LABELS: Mapping[str, str] = {VISION: "VISION", REVIEW: "REVIEW"}
"""The label that follows `yaml` on each output's opening fence."""

VISION_KEYS = (
    "product_name",
    "product_summary",
    "target_users",
    "value_proposition",
    "key_capabilities",
    "non_goals",
    "success_metrics",
    "last_updated",
)
REVIEW_KEYS = ("status", "summary", "requirements_alignment", "recommended_actions", "narrative")
ALIGNMENT_KEYS = ("aligned", "gaps", "conflicts")
OUTPUT_KEYS: Mapping[str, tuple[str, ...]] = {VISION: VISION_KEYS, REVIEW: REVIEW_KEYS}
"""The top-level keys of each output, in canonical order."""
