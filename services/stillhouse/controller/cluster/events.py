"""What happened between two statuses, as Kubernetes events. Pure; called by the reconciler.

An event's name is made of what it says, so that a controller that starts anew says nothing twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_CHARACTERS = 1000
_WARNINGS = frozenset({"StepFailed", "GatesFailed", "Failed", "StepWaits", "InvalidSpec", "NameTaken", "PinsDisagree"})
_OUTCOMES = {"Succeeded", "GatesFailed", "Failed", "Invalid", "Suspended"}


@dataclass(frozen=True)
class Happening:
    """Something that a person wants to know."""

    reason: str
    message: str

    @property
    def type(self) -> str:
        """Normal or Warning."""
        return "Warning" if self.reason in _WARNINGS else "Normal"


def happenings(before: Json, after: Json) -> Iterator[Happening]:
    """From one status to the next."""
    known = {step["name"]: step for step in before.get("steps", [])}
    for step in after.get("steps", []):
        old = known.get(step["name"], {})
        changed = (step["state"], step.get("key")) != (old.get("state"), old.get("key"))
        if changed or step.get("message") != old.get("message"):
            yield from _of_step(step, changed=changed)
    if after.get("stage") != before.get("stage") and after.get("stage") in _OUTCOMES:
        reason = "InvalidSpec" if after["stage"] == "Invalid" else after["stage"]
        yield Happening(reason, after.get("message", "") or after["stage"])
    serving_before, serving = _condition(before, "Serving"), _condition(after, "Serving")
    if serving.get("reason") not in (None, "NoModel", "Suspended", serving_before.get("reason")):
        reason = "Served" if serving["status"] == "True" else serving["reason"]
        yield Happening(reason, serving.get("message", ""))


def event(happening: Happening, regarding: Json, *, stamp: str) -> Json:
    """The v1 Event about the object `regarding` (metadata and kind of a Distillation)."""
    metadata = regarding["metadata"]
    text = f"{metadata['uid']}/{metadata.get('generation', 0)}/{happening.reason}/{happening.message}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {
        "metadata": {"name": f"{metadata['name']}.{digest}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": regarding["apiVersion"],
            "kind": regarding["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "type": happening.type,
        "reason": happening.reason,
        "message": happening.message[:_CHARACTERS],
        "source": {"component": "stillhouse-controller"},
        "reportingComponent": "stillhouse-controller",
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }


def _of_step(step: Json, *, changed: bool) -> Iterator[Happening]:
    name, message = step["name"], step.get("message", "")
    match step["state"]:
        case "running" if changed:
            yield Happening("StepStarted", f"{name}: {step.get('job', '')}")
        case "done" if changed:
            yield Happening("StepDone", name)
        case "failed" if changed:
            yield Happening("StepFailed", f"{name}: {message}")
        case "queued" if changed:
            yield Happening("StepQueued", f"{name}: {message}")
        case "pending" | "running" | "retrying" if message:
            yield Happening("StepWaits", f"{name}: {message}")


def _condition(status: Json, name: str) -> Json:
    found: Json = next((entry for entry in status.get("conditions", []) if entry["type"] == name), {})
    return found
