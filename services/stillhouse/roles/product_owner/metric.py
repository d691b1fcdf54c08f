"""`product_owner_metric`, version 1: points for the form of both outputs, and for covering the requirements.

The role object scores with it. It sees raw YAML text only and rewards form; what form cannot show is the guards' work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stillhouse.roles.product_owner.schema import STATUSES, load_mapping
from stillhouse.roles.product_owner.signature import ALIGNMENT_KEYS, REQUIREMENTS, REVIEW, VISION
from stillhouse.roles.role import MetricScore

PART_POINTS = 30.0
LISTS_OF_VISION = ("target_users", "value_proposition", "key_capabilities", "success_metrics")
REQUIREMENT_LISTS = ("functional_requirements", "non_functional_requirements", "constraints")
SHARED_TOKENS = 0.30
_STOP_WORDS = "the and with para con los las una unos unas user users system systems api apis rest crud"
STOP_WORDS = frozenset(_STOP_WORDS.split())
_TOKEN = re.compile("[A-Za-zÁÉÍÓÚáéíóúÑñ0-9]+")


@dataclass(frozen=True)
class Requirement:
    """A requirement's id and description, stripped; either may be empty, not both."""

    id: str
    description: str


def score(inputs: Mapping[str, str], outputs: Mapping[str, str]) -> MetricScore:
    """The score in [0, 1] and its four parts in points of at most 30. Never raises."""
    vision = load_mapping(outputs.get(VISION))
    review = load_mapping(outputs.get(REVIEW))
    requirements = read_requirements(inputs.get(REQUIREMENTS))
    parts = {
        "schema": _schema(vision, review),
        "vision_completeness": _vision_completeness(vision),
        "requirements_alignment": _requirements_alignment(requirements, review),
        "review_specificity": _review_specificity(review),
    }
    parts = {name: min(points, PART_POINTS) for name, points in parts.items()}
    return MetricScore(score=sum(parts.values()) / (PART_POINTS * len(parts)), parts=parts)


def read_requirements(text: object) -> list[Requirement]:
    """The requirements that YAML text holds, duplicates included."""
    document = load_mapping(text)
    found = []
    for name in REQUIREMENT_LISTS:
        for item in _items(document.get(name)):
            if isinstance(item, dict):
                requirement = Requirement(_value_text(item.get("id")), _value_text(item.get("description")))
                if requirement.id or requirement.description:
                    found.append(requirement)
    return found


def read_segments(text: object) -> list[str]:
    """The segments of the review that YAML text holds: its items and its narrative, as text."""
    return _segments(load_mapping(text))


def shares_tokens(description: str, segments: Iterable[str]) -> bool:
    """Whether some one segment shares at least 30 % of the description's distinct tokens."""
    return _shares_tokens(tokens(description), map(tokens, segments))


def tokens(text: str) -> frozenset[str]:
    """The distinct tokens of a text, without stop words."""
    return frozenset(token.lower() for token in _TOKEN.findall(text)) - STOP_WORDS


def _is_iso_datetime(value: Any) -> bool:
    """Whether a value is text that, stripped and with Z read as +00:00, `datetime.fromisoformat` accepts."""
    if not isinstance(value, str):
        return False
    try:
        datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
    except ValueError:
        return False
    return True


def _length(value: Any) -> int:
    return len(value.strip()) if isinstance(value, str) else 0


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    try:
        return str(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python writes; deep nesting
        return ""


def _value_text(value: Any) -> str:
    return "" if value is None else _text(value).strip()


def _alignment(review: Mapping[Any, Any]) -> dict[Any, Any]:
    value = review.get("requirements_alignment")
    return value if isinstance(value, dict) else {}


def _steps(count: int, *, two: float, one: float) -> float:
    """Points for a number of items: `two` for two or more, `one` for one."""
    return two if count >= 2 else one if count == 1 else 0.0


def _schema(vision: Mapping[Any, Any], review: Mapping[Any, Any]) -> float:
    alignment = review.get("requirements_alignment")
    checks = [
        _length(vision.get("product_name")) > 0,
        _length(vision.get("product_summary")) >= 40,
        *(bool(_items(vision.get(name))) for name in LISTS_OF_VISION),
        isinstance(vision.get("non_goals"), list),
        _is_iso_datetime(vision.get("last_updated")),
        review.get("status") in STATUSES,
        bool(_items(review.get("summary"))),
        isinstance(alignment, dict) or not alignment,
        *(isinstance(_alignment(review).get(name), list) for name in ALIGNMENT_KEYS),
        bool(_items(review.get("recommended_actions"))),
        _length(review.get("narrative")) >= 40,
    ]
    return PART_POINTS * sum(checks) / len(checks)


def _vision_completeness(vision: Mapping[Any, Any]) -> float:
    lists = sum(_steps(len(_items(vision.get(name))), two=6.0, one=3.0) for name in LISTS_OF_VISION)
    length = _length(vision.get("product_summary"))
    return lists + (6.0 if length >= 120 else 3.0 if length >= 60 else 0.0)


def _requirements_alignment(requirements: list[Requirement], review: Mapping[Any, Any]) -> float:
    if not requirements:
        return 0.0
    alignment = _alignment(review)
    covered = _count_covered(requirements, _segments(review))
    return (
        coverage_points(covered / len(requirements))
        + 8.0 * min(len(_items(alignment.get("aligned"))) / len(requirements), 1.0)
        + (3.0 if _items(alignment.get("gaps")) else 0.0)
        + (3.0 if _items(alignment.get("conflicts")) else 0.0)
    )


def _segments(review: Mapping[Any, Any]) -> list[str]:
    segments = []
    for name in ("summary", "recommended_actions"):
        value = review.get(name)
        segments += [value] if isinstance(value, str) else [_text(item) for item in _items(value)]
    for name in ALIGNMENT_KEYS:
        segments += [_text(item) for item in _items(_alignment(review).get(name))]
    narrative = review.get("narrative")
    return [*segments, narrative] if isinstance(narrative, str) else segments


def _count_covered(requirements: list[Requirement], segments: list[str]) -> int:
    joined = " ".join(segments).lower()
    segment_tokens = {tokens(segment) for segment in segments}

    def is_covered(requirement: Requirement) -> bool:
        named = bool(requirement.id) and requirement.id.lower() in joined
        return named or _shares_tokens(tokens(requirement.description), segment_tokens)

    return sum(map(is_covered, requirements))


def _shares_tokens(wanted: frozenset[str], found: Iterable[frozenset[str]]) -> bool:
    return bool(wanted) and any(len(wanted & some) / len(wanted) >= SHARED_TOKENS for some in found)


def coverage_points(coverage: float) -> float:
    """Points for the fraction of requirements that the review covers; there is a jump from 4 to 8 at one half."""
    if coverage >= 0.85:
        return 22.0
    if coverage >= 0.70:
        return 16.0 + 6.0 * (coverage - 0.70) / 0.15
    if coverage >= 0.50:
        return 8.0 + 8.0 * (coverage - 0.50) / 0.20
    return 8.0 * coverage


def _review_specificity(review: Mapping[Any, Any]) -> float:
    length = _length(review.get("narrative"))
    points = _steps(len(_items(review.get("summary"))), two=6.0, one=3.0)
    points += _steps(len(_items(review.get("recommended_actions"))), two=12.0, one=6.0)
    for name in ("gaps", "conflicts"):
        value = _alignment(review).get(name)
        points += 6.0 if _items(value) else 2.0 if isinstance(value, list) else 0.0
    return points + (6.0 if length >= 160 else 3.0 if length >= 80 else 0.0)
