"""The laptop's runner: look, plan, act, until there is an outcome. Called by `stillhouse run`; prints nothing.

It knows a backend only by what every backend does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from stillhouse.artifacts.store import Store
from stillhouse.controller.plan import Observation, Plan, PlannedStep, Start, StepState, Stop, plan
from stillhouse.controller.requests import Inputs
from stillhouse.controller.runs import write_run
from stillhouse.rpc.operation import read_progress
from stillhouse.spec.models import Distillation
from stillhouse.v1.artifact_pb2 import Manifest
from stillhouse.v1.common_pb2 import Progress

_TICK_SECONDS = 0.1
ProgressByStep = Mapping[str, Progress]


class Backend(Protocol):
    """Where jobs run. It starts, stops and observes; it decides nothing."""

    def start(self, step: PlannedStep) -> None:
        """Starts the step's job, or starts it again."""
        ...

    def stop(self, key: str) -> None:
        """Asks the job to save a checkpoint and stop."""
        ...

    def observe(self) -> Mapping[str, Observation]:
        """All jobs there are, by key."""
        ...


class KnownManifests:
    """Reads every manifest once, found or not, and again only after `forget`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Manifest | None] = {}

    def __call__(self, stage: str, key: str) -> Manifest | None:
        """The manifest, or None."""
        if key not in self._known:
            self._known[key] = self._store.read_manifest(stage, key)
        return self._known[key]

    def forget(self, key: str) -> None:
        """The job behind it has ended: look again. The stage is in the key."""
        self._known.pop(key, None)


class Runner:
    """Carries one Distillation to its outcome."""

    def __init__(
        self,
        distillation: Distillation,
        inputs: Inputs,
        store: Store,
        backend: Backend,
        on_change: Callable[[Plan, ProgressByStep], None],
    ) -> None:
        """`on_change` is called a few times a second with the plan and the progress of what runs, by step."""
        self._distillation = distillation
        self._inputs = inputs
        self._store = store
        self._backend = backend
        self._on_change = on_change
        self._manifests = KnownManifests(store)
        self._seen: Mapping[str, Observation] = {}
        self._written: list[tuple[str, StepState]] = []

    def plan(self) -> Plan:
        """What there is to do now. Jobs that have ended since the last look may have left a manifest."""
        seen = self._backend.observe()
        for key, observation in seen.items():
            if not observation.running and self._seen.get(key) != observation:
                self._manifests.forget(key)
        self._seen = seen
        return plan(self._distillation.spec, self._inputs, self._manifests, seen, now=time.monotonic())

    def run(self, stopping: threading.Event) -> Plan:
        """Acts until there is an outcome or `stopping` is set; the last plan."""
        while True:
            current = self.plan()
            self._record(current)
            self._on_change(current, self._progress(current))
            if current.outcome is not None or stopping.is_set():
                return current
            for action in current.actions:
                match action:
                    case Start(step):
                        self._backend.start(step)
                    case Stop(key):
                        self._backend.stop(key)
            stopping.wait(_TICK_SECONDS)

    def _record(self, current: Plan) -> None:
        states = [(step.key, step.state) for step in current.steps]
        if states != self._written or current.outcome is not None:
            write_run(self._store, self._distillation, current)
            self._written = states

    def _progress(self, current: Plan) -> ProgressByStep:
        return {
            step.name: progress
            for step in current.steps
            if step.state is StepState.RUNNING and (progress := read_progress(self._store, step.key)) is not None
        }
