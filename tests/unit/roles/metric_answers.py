"""A perfect answer, worse ones made from it, and the points that the metric gives them."""

from __future__ import annotations

from typing import Any

import yaml

from stillhouse.roles.product_owner import metric

LONG = "word " * 100
REQUIREMENTS = {
    "functional_requirements": [{"id": f"FR00{n}", "description": f"alpha{n} beta{n}"} for n in range(1, 6)],
    "non_functional_requirements": [{"id": f"NFR00{n}", "description": f"gamma{n} delta{n}"} for n in range(1, 4)],
    "constraints": [{"id": f"C00{n}", "description": f"eps{n} zeta{n}"} for n in range(1, 3)],
}
VISION: dict[str, Any] = {
    "product_name": "Ledger",
    "product_summary": LONG,
    "target_users": ["a", "b"],
    "value_proposition": ["a", "b"],
    "key_capabilities": ["a", "b"],
    "non_goals": [],
    "success_metrics": ["a", "b"],
    "last_updated": "2025-11-01",
}
ALIGNMENT: dict[str, Any] = {"aligned": ["ok"] * 10, "gaps": ["gap"], "conflicts": ["conflict"]}
REVIEW: dict[str, Any] = {
    "status": "aligned",
    "summary": ["one", "two"],
    "requirements_alignment": ALIGNMENT,
    "recommended_actions": ["one", "two"],
    "narrative": LONG,
}
EVERY_ID = [item["id"] for items in REQUIREMENTS.values() for item in items]
ABSENT = object()


def changed(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**base, **changes}.items() if value is not ABSENT}


def parts(vision: Any = VISION, review: Any = REVIEW, requirements: Any = REQUIREMENTS) -> dict[str, float]:
    def text(value: Any) -> str:
        return value if isinstance(value, str) else yaml.safe_dump(value, width=10_000)

    outputs = {"product_vision": text(vision), "product_owner_review": text(review)}
    return dict(metric.score({"requirements_yaml": text(requirements)}, outputs).parts)


def aligned(**changes: Any) -> dict[str, Any]:
    return changed(REVIEW, requirements_alignment=changed(ALIGNMENT, **changes))


def alignment_points(requirements: Any, **changes: Any) -> float:
    review = changed(REVIEW, summary=[], recommended_actions=[], requirements_alignment={}, narrative="")
    return parts(requirements=requirements, review=changed(review, **changes))["requirements_alignment"]


def one(**requirement: Any) -> dict[str, Any]:
    return {"constraints": [requirement]}


def specificity(**changes: Any) -> float:
    bare = changed(REVIEW, summary=[], recommended_actions=[], requirements_alignment={}, narrative="")
    return parts(review=changed(bare, **changes))["review_specificity"]
