"""What is seen on the cluster becomes names; what fails is looked at again later."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from stillhouse.controller.cluster.metrics import ControllerMetrics
from stillhouse.controller.cluster.shell import Shell
from stillhouse.errors import Unavailable

Json = dict[str, Any]


def shell(reconcile: Callable[[str, str], float | None] = lambda *_: None) -> Shell:
    return Shell(reconcile, ControllerMetrics(CollectorRegistry()))


def distillation(
    made: Shell, called: str, *, kind: str = "MODIFIED", namespace: str = "team", **serve: Any
) -> list[str]:
    """Shows it; the names that are wanted now."""
    body = {"metadata": {"name": called, "namespace": namespace}, "spec": {"serve": serve} if serve else {}}
    asyncio.run(
        made._on_distillation(event={"type": kind}, body=body, namespace=namespace, name=called)  # type: ignore[arg-type]
    )
    return wanted(made)


def wanted(made: Shell) -> list[str]:
    found = []
    while len(made._queue):
        name = made._queue.get()
        assert name is not None
        made._queue.done(name)
        found.append("/".join(name))
    return sorted(found)


def test_an_event_of_a_distillation_is_its_name() -> None:
    made = shell()
    assert distillation(made, "first", kind="ADDED") == ["team/first"]
    assert distillation(made, "first") == ["team/first"]
    assert distillation(made, "first", kind="DELETED") == ["team/first"]


@pytest.mark.parametrize(
    ("change", "woken"),
    [
        ({"name": "quiz"}, ["team/first"]),  # a status, a label
        ({"name": "quiz", "pin": "sha256:" + "a" * 64}, ["team/first", "team/second"]),
        ({"name": "quiz", "policy": "Always"}, ["team/first", "team/second"]),
        ({"name": "other"}, ["team/first", "team/second", "team/third"]),
        ({}, ["team/first", "team/second"]),  # from now on its own name's
    ],
)
def test_what_concerns_a_student_wakes_all_who_feed_it(change: Json, woken: list[str]) -> None:
    made = shell()
    for name, student in [("first", "quiz"), ("second", "quiz"), ("third", "other")]:
        distillation(made, name, name=student)
    distillation(made, "second", namespace="elsewhere", name="quiz")
    assert distillation(made, "first", **change) == woken


def test_one_that_goes_wakes_those_who_stay() -> None:
    made = shell()
    distillation(made, "quiz")  # feeds the student of its own name
    distillation(made, "second", name="quiz")
    assert distillation(made, "quiz", kind="DELETED") == ["team/quiz", "team/second"]
    assert distillation(made, "second", name="quiz") == ["team/second"]


def test_what_is_owned_wakes_all_its_owners() -> None:
    made = shell()
    references = [
        {"kind": "Distillation", "name": "first"},
        {"kind": "Distillation", "name": "second"},
        {"kind": "Workload", "name": "third"},
    ]
    for body in ({"metadata": {"ownerReferences": references}}, {"metadata": {}}):
        asyncio.run(made._on_owned(body=body, namespace="team"))  # type: ignore[arg-type]
    assert wanted(made) == ["team/first", "team/second"]


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Unavailable("away"), 1.0),
        (Unavailable("busy", retry_after_seconds=30), 30.0),
        (ZeroDivisionError("a mistake of ours"), 1.0),
    ],
)
def test_a_look_that_fails_is_repeated_later_and_the_worker_lives(error: Exception, seconds: float) -> None:
    looked: list[str] = []

    def reconcile(_namespace: str, name: str) -> float | None:
        looked.append(name)
        if name == "bad":
            raise error
        made._queue.close()
        return None

    made = shell(reconcile)
    made._queue.add(("team", "bad"))
    made._queue.add(("team", "good"))
    worker = threading.Thread(target=made._work)
    worker.start()
    worker.join(10)
    assert looked == ["bad", "good"]
    due = made._queue._due["team", "bad"] - made._queue._clock()
    assert seconds - 1 < due <= seconds
    assert made._queue._failures == {("team", "bad"): 1}


def test_failures_are_counted() -> None:
    registry = CollectorRegistry()

    def reconcile(_namespace: str, _name: str) -> float | None:
        made._queue.close()
        raise Unavailable("away")

    made = Shell(reconcile, ControllerMetrics(registry))
    made._queue.add(("team", "bad"))
    made._work()
    assert registry.get_sample_value("stillhouse_reconcile_failures_total") == 1
    assert registry.get_sample_value("stillhouse_reconcile_seconds_count") == 1
