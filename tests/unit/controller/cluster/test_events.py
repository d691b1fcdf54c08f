"""Events: each thing that happened is said, once, and what a person must act on is a warning."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from stillhouse.controller.cluster.events import Happening, event, happenings

Json = dict[str, Any]
BODY = {
    "apiVersion": "stillhouse.dev/v1alpha1",
    "kind": "Distillation",
    "metadata": {"name": "first", "namespace": "team", "uid": "uid-1", "generation": 3},
}


def step(state: str, message: str = "", key: str = "k", **given: Any) -> Json:
    return {"steps": [{"name": "train", "stage": "train", "state": state, "message": message, "key": key, **given}]}


def serving(reason: str, status: str = "False", message: str = "") -> Json:
    return {"conditions": [{"type": "Serving", "status": status, "reason": reason, "message": message}]}


def said(before: Json, after: Json) -> list[tuple[str, str, str]]:
    return [(each.type, each.reason, each.message) for each in happenings(before, after)]


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ({}, {}, []),
        ({}, step("waiting", "after base"), []),
        ({}, step("running", job="train-1"), [("Normal", "StepStarted", "train: train-1")]),
        (step("pending"), step("running", job="train-1"), [("Normal", "StepStarted", "train: train-1")]),
        (step("running"), step("done"), [("Normal", "StepDone", "train")]),
        (step("done"), step("done", key="other"), [("Normal", "StepDone", "train")]),
        (step("running"), step("failed", "no"), [("Warning", "StepFailed", "train: no")]),
        (step("failed", "no"), step("failed", "no, still"), []),
        (step("ready"), step("queued", "in gpus"), [("Normal", "StepQueued", "train: in gpus")]),
        (step("queued", "in gpus"), step("queued", "in gpus: full"), []),
        (step("pending"), step("pending", "no image"), [("Warning", "StepWaits", "train: no image")]),
        (step("pending", "no image"), step("pending", "no image"), []),
        (step("pending", "no image"), step("pending"), []),
        (step("running"), step("running", "attempt 2 of 5"), [("Warning", "StepWaits", "train: attempt 2 of 5")]),
        (step("running"), step("retrying", "away"), [("Warning", "StepWaits", "train: away")]),
        (step("running"), step("running", progress={"done": 5}), []),
        ({"stage": "train"}, {"stage": "export"}, []),
        ({"stage": "evaluate"}, {"stage": "Succeeded", "message": "all"}, [("Normal", "Succeeded", "all")]),
        ({"stage": "evaluate"}, {"stage": "GatesFailed", "message": "low"}, [("Warning", "GatesFailed", "low")]),
        ({"stage": "train"}, {"stage": "Failed", "message": "no"}, [("Warning", "Failed", "no")]),
        ({}, {"stage": "Invalid", "message": "why"}, [("Warning", "InvalidSpec", "why")]),
        ({"stage": "train"}, {"stage": "Suspended"}, [("Normal", "Suspended", "Suspended")]),
        ({"stage": "Failed", "message": "a"}, {"stage": "Failed", "message": "b"}, []),
        ({}, serving("NoModel"), []),
        (serving("NoModel"), serving("RollingOut", message="m"), [("Normal", "RollingOut", "m")]),
        (serving("RollingOut"), serving("Serving", "True", "m"), [("Normal", "Served", "m")]),
        (serving("RollingOut"), serving("Pinned", "True", "m"), [("Normal", "Served", "m")]),
        (serving("NoModel"), serving("NotBetter", message="m"), [("Normal", "NotBetter", "m")]),
        (serving("NotBetter", message="m"), serving("NotBetter", message="n"), []),
        (serving("Serving", "True"), serving("Suspended", "Unknown"), []),
        (serving("NoModel"), serving("NameTaken", message="m"), [("Warning", "NameTaken", "m")]),
        (serving("Serving", "True"), serving("PinsDisagree", message="m"), [("Warning", "PinsDisagree", "m")]),
    ],
)
def test_what_is_said_of_two_statuses(before: Json, after: Json, wanted: list[tuple[str, str, str]]) -> None:
    assert said(before, after) == wanted
    assert said(after, after) == []


def test_the_same_thing_has_the_same_name_and_another_another() -> None:
    def name(happening: Happening, **metadata: Any) -> str:
        body = {**BODY, "metadata": {**BODY["metadata"], **metadata}}
        found: str = event(happening, body, stamp="2030-01-31T12:00:00Z")["metadata"]["name"]
        return found

    one = Happening("StepDone", "train")
    assert name(one) == name(Happening("StepDone", "train"))
    names = [
        name(one),
        name(Happening("StepDone", "export")),
        name(Happening("StepStarted", "train")),
        name(one, generation=4),
        name(one, uid="uid-2"),
    ]
    assert all(a != b for a, b in itertools.combinations(names, 2))


def test_an_event_is_about_its_distillation_and_fits() -> None:
    made = event(Happening("StepFailed", "x" * 5000), BODY, stamp="2030-01-31T12:00:00Z")
    assert made["involvedObject"] == {
        "apiVersion": "stillhouse.dev/v1alpha1",
        "kind": "Distillation",
        "name": "first",
        "namespace": "team",
        "uid": "uid-1",
    }
    assert (made["type"], made["reason"], len(made["message"])) == ("Warning", "StepFailed", 1000)
    assert made["firstTimestamp"] == made["lastTimestamp"] == "2030-01-31T12:00:00Z"
