"""The laptop's runner: plan, act, look, until there is an outcome. Called by `stillhouse run`; prints nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping

from google.protobuf import json_format

from stillhouse.artifacts.store import Store
from stillhouse.controller.local import LocalBackend
from stillhouse.controller.plan import Observation, Plan, Start, StepState, Stop, plan
from stillhouse.controller.requests import Inputs
from stillhouse.controller.runs import write_run
from stillhouse.spec.models import Distillation
from stillhouse.v1.artifact_pb2 import Manifest
from stillhouse.v1.common_pb2 import Progress

_TICK_SECONDS = 0.1
ProgressByStep = Mapping[str, Progress]


class KnownManifests:
    """Reads manifests; remembers those that exist, and asks again for others only after `forget`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], Manifest | None] = {}

    def __call__(self, stage: str, key: str) -> Manifest | None:
        """The manifest, or None."""
        if (stage, key) not in self._known:
            self._known[stage, key] = self._store.read_manifest(stage, key)
        return self._known[stage, key]

    def forget(self, stage: str, key: str) -> None:
        """The job behind it has ended: look again."""
        self._known.pop((stage, key), None)


class Runner:
    """Carries one Distillation to its outcome."""

    def __init__(
        self,
        distillation: Distillation,
        inputs: Inputs,
        store: Store,
        backend: LocalBackend,
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
        """What there is to do now."""
        return plan(
            self._distillation.spec, self._inputs, self._manifests, self._backend.observe(), now=time.monotonic()
        )

    def run(self, stopping: threading.Event) -> Plan:
        """Acts until there is an outcome or `stopping` is set; the last plan."""
        while True:
            self._look()
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

    def _look(self) -> None:
        """Jobs that ended since the last look may have left a manifest."""
        seen = self._backend.observe()
        ended = [key for key, now in seen.items() if not now.running and self._seen.get(key) != now]
        for key in ended:
            for stage in {step.stage for step in self.plan().steps if step.key == key}:
                self._manifests.forget(stage, key)
        self._seen = seen

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


def read_progress(store: Store, key: str) -> Progress | None:
    """What a job last said of itself; None before its first word."""
    data = store.read_object(f"runs/{key}/progress.json")
    if data is None:
        return None
    try:
        return json_format.ParseDict(json.loads(data), Progress(), ignore_unknown_fields=True)
    except (ValueError, json_format.ParseError):
        return None
