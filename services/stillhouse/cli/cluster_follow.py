"""A Distillation on a cluster as it goes: its status as the plan and progress that the views of `run` show.

Called by run and status; it reads the API server and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

from stillhouse.cli.cluster import Cluster, find_distillation, has_ended, is_current
from stillhouse.cli.progress import View
from stillhouse.controller.cluster.timestamps import seconds_of
from stillhouse.controller.plan import Plan, PlannedStep, StepState
from stillhouse.errors import TemporaryError
from stillhouse.v1.common_pb2 import Progress

if TYPE_CHECKING:
    import threading

Json = dict[str, Any]

_LOOK_SECONDS = 1.0
_UNSEEN_SECONDS = 20.0
_PATIENCE_SECONDS = 120.0
_JOB_STATES = {
    "queued": (StepState.READY, "its Job waits in a queue"),
    "pending": (StepState.READY, "its pod is starting"),
    "stopping": (StepState.RUNNING, "stopping after a checkpoint"),
    "succeeded": (StepState.RUNNING, "its Job has ended"),
}
"""What a step's Job is doing: the state of a step that it comes nearest to, and words where its message has none."""


class Follower:
    """Looks at one Distillation until it has ended."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        said: Console,
        *,
        look_seconds: float = _LOOK_SECONDS,
        unseen_seconds: float = _UNSEEN_SECONDS,
    ) -> None:
        """`said` takes remarks."""
        self._unseen_seconds = unseen_seconds
        self._cluster = cluster
        self._name = name
        self._said = said
        self._look_seconds = look_seconds
        self._answered_at = self._began_at = time.monotonic()
        self._remarked: set[str] = set()

    def follow(self, view: View, stopping: threading.Event) -> Json | None:
        """The Distillation as it ended; None if `stopping` was set before.

        Raises NotFound once it is deleted, and what the API raises; a server that is away for a while is waited for.
        """
        while not stopping.is_set():
            body = self._look()
            if body is not None and is_current(body):
                view.show(*shown(body))
                if has_ended(body):
                    return body
            elif body is not None:
                self._remark_unseen()
            stopping.wait(self._look_seconds)
        return None

    def _look(self) -> Json | None:
        try:
            body = find_distillation(self._cluster, self._name)
        except TemporaryError as exc:
            if time.monotonic() - self._answered_at > _PATIENCE_SECONDS:
                raise
            self._remark(f"{exc.message}; looking again")
            return None
        self._answered_at = time.monotonic()
        return body

    def _remark_unseen(self) -> None:
        """What is shown speaks of an earlier generation, or of none."""
        if time.monotonic() - self._began_at > self._unseen_seconds:
            self._remark(
                f"no controller has looked at it yet: does one watch namespace {self._cluster.namespace}? "
                "`kubectl get pods -A -l app.kubernetes.io/name=stillhouse,app.kubernetes.io/component=controller`"
            )

    def _remark(self, words: str) -> None:
        if words not in self._remarked:
            self._remarked.add(words)
            self._said.print(words, markup=False, soft_wrap=True)


def shown(body: Json, *, now: float | None = None) -> tuple[Plan, dict[str, Progress], dict[str, float]]:
    """What a view shows of a Distillation: its steps, the progress of what runs, the seconds each took so far."""
    steps = body.get("status", {}).get("steps", [])
    moment = time.time() if now is None else now
    plan = Plan(tuple(planned(step) for step in steps), (), None)
    progress = {step["name"]: _progress(step) for step in steps if "progress" in step}
    took = {step["name"]: seconds for step in steps if (seconds := _seconds(step, moment)) is not None}
    return plan, progress, took


def planned(step: Json) -> PlannedStep:
    """A step of the status as the views know it."""
    said, message = step["state"], step.get("message", "")
    state, words = _JOB_STATES[said] if said in _JOB_STATES else (StepState(said), "")
    message = message or words
    if state is StepState.WAITING:
        message = message.removeprefix("after ")  # which the views say
    return PlannedStep(step["name"], "", step["stage"], state, key=step.get("key", ""), message=message)


def _progress(step: Json) -> Progress:
    said: Mapping[str, Any] = step["progress"]
    return Progress(
        stage=step["stage"],
        message="; ".join(part for part in (step.get("message"), said.get("message")) if part),
        done=said.get("done", 0),
        total=said.get("total", 0),
        unit=said.get("unit", ""),
        eta_seconds=said.get("etaSeconds", 0),
        figures={name: float(value) for name, value in said.get("figures", {}).items()},
    )


def _seconds(step: Json, now: float) -> float | None:
    """From its Job's start; None where that or its end is not known, or it was done before it was wanted here."""
    if "startTime" not in step or ("finishTime" not in step and step["state"] in ("done", "failed")):
        return None
    ended = seconds_of(step["finishTime"]) if "finishTime" in step else now
    seconds = ended - seconds_of(step["startTime"])
    return seconds if seconds >= 0 else None
