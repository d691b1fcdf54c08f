"""The runner against a scripted backend: what it starts, when it looks for manifests again, and when it stops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from planned_world import ALL_STEPS, INPUTS, result_of
from stillhouse.artifacts.store import Store
from stillhouse.controller.plan import MAX_ATTEMPTS, Observation, Outcome, Plan, PlannedStep, StepState
from stillhouse.controller.runner import Runner
from stillhouse.controller.runs import find_run
from stillhouse.spec.loading import parse_distillation
from stillhouse.v1.artifact_pb2 import Manifest

DISTILLATION = parse_distillation(
    {
        "apiVersion": "stillhouse.dev/v1alpha1",
        "kind": "Distillation",
        "metadata": {"name": "scripted"},
        "spec": {"role": "product_owner", "dataset": {"imports": [{"uri": "rows.jsonl"}]}},
    },
    source="test",
)


class ScriptedBackend:
    """Every job ends between one look and the next, its manifest written just before; `ends` says with which code."""

    def __init__(self, store: Store, ends: Callable[[PlannedStep], int] = lambda step: 0, *, attempts: int = 1) -> None:
        self.store = store
        self.started: list[str] = []
        self._ends = ends
        self._attempts = attempts
        self._running: dict[str, PlannedStep] = {}
        self._seen: dict[str, Observation] = {}

    def start(self, step: PlannedStep) -> None:
        self.started.append(step.name)
        self._running[step.key] = step
        self._seen[step.key] = Observation(running=True, attempts=self._attempts)

    def stop(self, key: str) -> None:
        raise AssertionError(f"nobody asked to stop {key}")

    def observe(self) -> Mapping[str, Observation]:
        seen = dict(self._seen)
        for key, step in self._running.items():
            code = self._ends(step)
            if code == 0:
                manifest = Manifest(stage=step.stage, key=key)
                manifest.result.Pack(result_of(step.name, passed=True))
                self.store.commit_manifest(manifest)
            self._seen[key] = replace(seen[key], running=False, exit_code=code, message="the job's own words")
        self._running.clear()
        return seen


def carry(name: str, backend_of: Callable[[Store], ScriptedBackend]) -> tuple[ScriptedBackend, Plan, list[Plan]]:
    store = Store.open(f"memory://{name}")
    backend, shown = backend_of(store), []
    runner = Runner(DISTILLATION, INPUTS, store, backend, lambda plan, progress: shown.append(plan))
    return backend, runner.run(threading.Event()), shown


def test_every_step_is_started_once_and_its_manifest_found() -> None:
    backend, last, _ = carry("runner-all", ScriptedBackend)
    assert backend.started == ALL_STEPS
    assert last.outcome is Outcome.SUCCEEDED
    assert find_run(backend.store, "scripted").outcome == "succeeded"


def test_a_job_that_has_just_ended_well_never_looks_failed() -> None:
    _, last, shown = carry("runner-last-attempt", lambda store: ScriptedBackend(store, attempts=MAX_ATTEMPTS))
    assert last.outcome is Outcome.SUCCEEDED
    states = {step.state for plan in shown for step in plan.steps}
    assert states == {StepState.READY, StepState.RUNNING, StepState.WAITING, StepState.DONE}


def test_a_failed_step_ends_the_run_in_its_own_words() -> None:
    fails = lambda step: 65 if step.name == "base" else 0  # noqa: E731
    backend, last, _ = carry("runner-failed", lambda store: ScriptedBackend(store, fails))
    assert backend.started == ["dataset", "base"]
    assert last.outcome is Outcome.FAILED
    assert last.step("base").message == "the job's own words"


def test_a_runner_that_is_asked_to_stop_starts_nothing_more() -> None:
    store, stopping = Store.open("memory://runner-stopped"), threading.Event()
    stopping.set()
    backend = ScriptedBackend(store)
    last = Runner(DISTILLATION, INPUTS, store, backend, lambda plan, progress: None).run(stopping)
    assert backend.started == []
    assert last.outcome is None
