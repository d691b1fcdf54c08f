"""Every status that can come about is one that the resource's schema takes, and times of what stays are kept."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planned_world import ALL_STEPS, World, blob, spec_of
from stillhouse.controller.cluster.status import invalid_status, status_of
from stillhouse.controller.cluster.view import Job, Serving, View
from stillhouse.controller.plan import Observation, Plan, PlannedStep
from stillhouse.errors import DataLoss, FailedPrecondition, NotFound, PermissionDenied
from stillhouse.spec.crd import custom_resource_definition
from stillhouse.spec.status import DistillationStatus
from stillhouse.v1.artifact_pb2 import Manifest
from stillhouse.v1.common_pb2 import Progress
from stillhouse.v1.evaluator_pb2 import EvaluateResult, Evaluation, GateResult
from stillhouse.v1.record_pb2 import ScoreStatistics

Json = dict[str, Any]
NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
STAMP, LATER_STAMP = "2030-01-31T12:00:00Z", "2030-01-31T12:05:00Z"
SCHEMA: Json = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
NUMBERS = [float("nan"), float("inf"), float("-inf"), -1e300, 1e300, 1e12, -0.0, -0.0001, 0.0, 0.5]


def check(status: Json) -> None:
    """What the API server and the command line would say of it."""
    jsonschema.Draft202012Validator(SCHEMA).validate(status)
    assert DistillationStatus.model_validate(status).model_dump(by_alias=True, exclude_none=True) == status
    json.dumps(status, allow_nan=False)
    assert len({step["name"] for step in status.get("steps", [])}) == len(status.get("steps", []))
    assert len({entry["type"] for entry in status["conditions"]}) == len(status["conditions"])


def view(plan: Plan | None = None, **given: Any) -> View:
    return View(
        **{"plan": plan or World(spec_of()).plan(), "generation": 1, "store_uri": "s3://s", "suspended": False, **given}
    )


def until(name: str) -> World:
    world = World(spec_of())
    for step in ALL_STEPS[: ALL_STEPS.index(name)]:
        world.finish(step)
    return world


def running(name: str, **seen: Any) -> Plan:
    world = until(name)
    world.observations[world.plan().step(name).key] = Observation(running=True, **seen)
    return world.plan()


def evaluated(result: EvaluateResult) -> Plan:
    """All done, with that result."""
    world = until("evaluate")
    world.finish("evaluate")
    plan = world.plan()

    def changed(step: PlannedStep) -> PlannedStep:
        if step.name != "evaluate":
            return step
        manifest = Manifest(stage=step.stage, key=step.key)
        manifest.result.Pack(result)
        return replace(step, manifest=manifest)

    return replace(plan, steps=tuple(map(changed, plan.steps)))


def condition(status: Json, name: str) -> Json:
    (found,) = [entry for entry in status["conditions"] if entry["type"] == name]
    return dict(found)


PROGRESS = st.builds(
    Progress,
    done=st.integers(-5, 2**40),
    total=st.integers(-5, 2**40),
    unit=st.text(max_size=80),
    message=st.text(max_size=3) | st.just("long " * 2000),
    eta_seconds=st.sampled_from(NUMBERS) | st.floats(),
    figures=st.dictionaries(st.text(max_size=80), st.floats(), max_size=40),
)
TEXT = st.text(max_size=5) | st.just("x" * 9000) | st.just("ü" * 5000)
STATES = st.sampled_from(["", "queued", "pending", "running", "stopping", "succeeded", "failed"])
SERVING = st.none() | st.builds(
    Serving,
    is_ours=st.booleans(),
    is_ready=st.booleans(),
    reason=st.sampled_from(["Serving", "NotBetter", "Pinned", "PinsDisagree", "NameTaken", "NoModel"]),
    message=TEXT,
)
OBSERVED = st.builds(
    Observation,
    running=st.booleans(),
    attempts=st.integers(1, 6),
    exit_code=st.sampled_from([0, 1, 65, 75, 128]),
    ended_at=st.floats(0, 2e9),
    message=TEXT,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_every_status_is_one_that_the_schema_takes(data: st.DataObject) -> None:
    suspended = data.draw(st.booleans())
    world = World(spec_of(suspend=suspended))
    status: Json = {}
    for number, name in enumerate(ALL_STEPS[: data.draw(st.integers(0, len(ALL_STEPS)))]):
        world.finish(name, passed=data.draw(st.booleans()))
        if number % 3:
            continue
        for step in world.plan().steps:
            if step.key and data.draw(st.booleans()):
                world.observations[step.key] = data.draw(OBSERVED)
        made = view(
            world.plan(now=1e9),
            suspended=suspended,
            jobs={step: data.draw(st.builds(Job, st.just("job-1"), STATES, TEXT)) for step in ALL_STEPS},
            progress={step: data.draw(PROGRESS) for step in ALL_STEPS[::2]},
            serving=data.draw(SERVING),
        )
        status = status_of(made, status, now=NOW)
        check(status)
        reason = data.draw(st.sampled_from(["InvalidSpec", *(kind.__name__ for kind in ERRORS)]))
        status = data.draw(st.sampled_from([status, invalid_status(reason, data.draw(TEXT), 2, status, now=NOW)]))
        check(status)


ERRORS = [DataLoss, FailedPrecondition, NotFound, PermissionDenied]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_figure_that_is_no_number_is_left_out(number: float) -> None:
    result = EvaluateResult(
        passed=True, gap=number, summary=blob("9"), evaluation=Evaluation(scores=ScoreStatistics(mean=number))
    )
    progress = Progress(eta_seconds=number, figures={"loss": number, "rate": 1.0})
    status = status_of(view(evaluated(result)), {}, now=NOW)
    check(status)
    assert status.get("gap") == status.get("score")
    assert status.get("gap") in ({0.5: "0.500"}.get(number, "0.000") if abs(number) < 1e12 else None, None)
    step = status_of(view(running("train"), progress={"train": progress}), {}, now=NOW)["steps"][2]
    assert step["progress"]["etaSeconds"] == 0
    assert set(step["progress"]["figures"]) == {"rate"} | ({"loss"} if abs(number) < float("inf") else set())


def test_long_messages_are_cut() -> None:
    result = EvaluateResult(gates=[GateResult(reason="r" * 900) for _ in range(5)])
    status = status_of(view(evaluated(result)), {}, now=NOW)
    check(status)
    assert len(status["message"]) == 1024
    long = invalid_status("InvalidSpec", "x" * 9000, 1, {}, now=NOW)
    check(long)
    assert len(long["message"]) == len(condition(long, "Succeeded")["message"]) == 1024


def test_times_of_what_stays_are_kept_and_of_what_changed_are_new() -> None:
    first = status_of(view(running("train"), jobs={"train": Job("train-1", "running")}), {}, now=NOW)
    same = status_of(view(running("train"), jobs={"train": Job("train-1", "running")}), first, now=LATER)
    assert same == first
    assert first["steps"][2]["startTime"] == STAMP
    world = until("export")
    after = status_of(view(world.plan(), jobs={"train": Job("train-1", "succeeded")}), first, now=LATER)
    assert after["steps"][2]["startTime"] == STAMP
    assert condition(after, "Trained")["lastTransitionTime"] == LATER_STAMP
    assert condition(after, "Serving")["lastTransitionTime"] == STAMP


def test_another_generation_with_the_same_truth_keeps_its_times() -> None:
    first = status_of(view(), {}, now=NOW)
    second = status_of(view(generation=2), first, now=LATER)
    assert second["observedGeneration"] == 2
    assert {entry["observedGeneration"] for entry in second["conditions"]} == {2}
    assert {entry["lastTransitionTime"] for entry in second["conditions"]} == {STAMP}


def test_a_step_of_another_key_starts_anew() -> None:
    jobs = {"train": Job("train-1", "running")}
    first = status_of(view(running("train"), jobs=jobs), {}, now=NOW)
    first["steps"][2]["key"] = "another"
    assert status_of(view(running("train"), jobs=jobs), first, now=LATER)["steps"][2]["startTime"] == LATER_STAMP


def test_a_step_that_was_done_before_it_was_seen_did_not_start_after_its_end() -> None:
    step = status_of(view(until("export").plan(), jobs={"train": Job("train-1", "succeeded")}), {}, now=NOW)["steps"][2]
    assert step["state"] == "done"
    assert "startTime" not in step
    assert "finishTime" in step


def test_an_invalid_spec_keeps_what_is_known_of_the_steps() -> None:
    first = status_of(view(running("train")), {}, now=NOW)
    invalid = invalid_status("InvalidSpec", "no such preset", 2, first, now=LATER)
    assert invalid["steps"] == first["steps"]
    assert (invalid["stage"], invalid["message"], invalid["observedGeneration"]) == ("Invalid", "no such preset", 2)
    assert condition(invalid, "Succeeded") == {
        "type": "Succeeded",
        "status": "False",
        "reason": "InvalidSpec",
        "message": "no such preset",
        "observedGeneration": 2,
        "lastTransitionTime": LATER_STAMP,
    }
    assert invalid_status("InvalidSpec", "no such preset", 2, invalid, now=LATER + timedelta(days=1)) == invalid
    repaired = status_of(view(running("train"), generation=3), invalid, now=LATER)
    assert repaired["stage"] == "train"
    assert [entry["type"] for entry in repaired["conditions"]] == [entry["type"] for entry in first["conditions"]]


@pytest.mark.parametrize(
    ("serving", "suspended", "status", "reason", "word"),
    [
        (None, False, "False", "NoModel", "no"),
        (None, True, "Unknown", "Suspended", "Suspended"),
        (Serving(is_ours=True, is_ready=True, reason="Serving", message=""), False, "True", "Serving", "yes"),
        (Serving(is_ours=True, is_ready=True, reason="Pinned", message=""), False, "True", "Pinned", "yes"),
        (
            Serving(is_ours=True, is_ready=False, reason="Serving", message=""),
            False,
            "False",
            "RollingOut",
            "RollingOut",
        ),
        (
            Serving(is_ours=False, is_ready=True, reason="NotBetter", message=""),
            False,
            "False",
            "NotBetter",
            "NotBetter",
        ),
    ],
)
def test_whether_it_is_served_in_a_word(
    serving: Serving | None, suspended: bool, status: str, reason: str, word: str
) -> None:
    made = status_of(view(serving=serving, suspended=suspended), {}, now=NOW)
    entry = condition(made, "Serving")
    assert (entry["status"], entry["reason"], made["serving"]) == (status, reason, word)
