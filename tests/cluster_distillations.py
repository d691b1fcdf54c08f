"""Distillations for the tests of a real cluster: small specs, and what is read in a status."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from stillhouse.controller.cluster.pods import merged

Json = dict[str, Any]
Judge = Callable[[Json], object]
"""Of a status: whether it is what is waited for."""

ENDED = ("Succeeded", "GatesFailed", "Failed", "Invalid")
_GATES = ("minScore", "maxGap", "maxMedianSeconds", "minValidRate", "minGuardRate", "minMarginOverBase")

TINY: Json = {
    "role": "product_owner",
    "dataset": {"imports": [{"synthesized": {"count": 24, "seed": 11}}], "minRecords": 10},
    "student": {"base": "builtin:tiny", "training": {"epochs": 1, "maxSteps": 2, "batchSize": 2}},
    "export": {"maxKlDivergence": "1"},
    "evaluation": {"maxTokens": 16, "gates": dict.fromkeys(_GATES, "None")},
    "serve": {"policy": "Never"},
}
"""The smallest distillation there is: a minute and a half on two quiet processors, most of it the export."""

TAUGHT: Json = {
    "concepts": {"synthesized": {"count": 60, "seed": 7}},
    "teacher": {
        "stages": [
            {
                "provider": "emulator",
                "model": "gemini-2.5-flash",
                "records": 24,
                "minScore": "0.80",
                "emulator": {"faults": "none", "latencySeconds": "0"},
            }
        ]
    },
    "minRecords": 10,
}
"""A data set that the emulated teacher makes."""


def tiny(**changes: Any) -> Json:
    """The tiny spec with those fields merged into it; None takes one away."""
    made: Json = merged(copy.deepcopy(TINY), changes)
    return made


def rows(seed: int, count: int = 24) -> Json:
    """A data set of its own, for `dataset`."""
    return {"imports": [{"synthesized": {"count": count, "seed": seed}}]}


def step_of(status: Json, name: str) -> Json:
    """A step of a status; empty where there is none."""
    found: Json = next((step for step in status.get("steps", []) if step["name"] == name), {})
    return found


def condition_of(status: Json, name: str) -> tuple[str, str]:
    """Status and reason of a condition."""
    found = next((entry for entry in status.get("conditions", []) if entry["type"] == name), {})
    return found.get("status", ""), found.get("reason", "")


def owners_of(body: Json) -> list[str]:
    """Their uids."""
    return [reference["uid"] for reference in body["metadata"].get("ownerReferences", [])]
