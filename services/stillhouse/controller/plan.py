"""What is to be done now for a Distillation: a pure function of the spec, the manifests and what is running.

The laptop's runner and the cluster's controller call it and act on its answer; it starts nothing and reads no clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from google.protobuf.message import Message

from stillhouse.artifacts.digests import request_key
from stillhouse.artifacts.messages import unpack_as
from stillhouse.controller.pipeline import ManifestReader, ResultT, Step, steps_of
from stillhouse.controller.requests import Inputs
from stillhouse.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_TEMPORARY, EXIT_TERMINATED
from stillhouse.spec.models import DistillationSpec
from stillhouse.stages import EVALUATE
from stillhouse.v1.artifact_pb2 import Artifact, Manifest
from stillhouse.v1.evaluator_pb2 import EvaluateResult

MAX_ATTEMPTS = 5
GAVE_UP = "gave up after"
"""Part of the message of a step whose error was temporary each time."""
_FIRST_RETRY_SECONDS = 2.0
_TRY_AGAIN = frozenset({EXIT_DONE, EXIT_TEMPORARY, EXIT_INTERRUPTED, EXIT_TERMINATED})
"""A job that says it is done, but left no manifest, is tried again too."""


class StepState(StrEnum):
    """Where a step stands."""

    DONE = "done"
    RUNNING = "running"
    READY = "ready"
    WAITING = "waiting"
    RETRYING = "retrying"
    FAILED = "failed"


class Outcome(StrEnum):
    """How a Distillation ended."""

    SUCCEEDED = "succeeded"
    GATES_FAILED = "gates failed"
    FAILED = "failed"
    SUSPENDED = "suspended"


@dataclass(frozen=True)
class Observation:
    """What a backend sees of a job: it runs, or it ended `exit_code` at `ended_at` (seconds) after `attempts`."""

    running: bool
    attempts: int = 1
    exit_code: int = EXIT_DONE
    """As `stillhouse.errors` has them. How a platform reports a kill is the backend's to know: EXIT_TEMPORARY here."""
    ended_at: float = 0.0
    message: str = ""


@dataclass(frozen=True)
class PlannedStep:
    """A step with its key, if its inputs are known, and its state."""

    name: str
    service: str
    stage: str
    state: StepState
    key: str = ""
    request: Message | None = None
    serves: Artifact | None = None
    """The model that has to be served beside the job while it runs."""
    manifest: Manifest | None = None
    message: str = ""
    exit_code: int = EXIT_DONE
    """Of the job, for a step that failed: whether trying again later can help."""

    def result(self, result_type: type[ResultT]) -> ResultT | None:
        """What it made; None while it is not done."""
        return None if self.manifest is None else unpack_as(self.manifest.result, result_type)


@dataclass(frozen=True)
class Start:
    """Start this step's job."""

    step: PlannedStep


@dataclass(frozen=True)
class Stop:
    """Stop this job; it saves a checkpoint."""

    key: str


Action = Start | Stop


@dataclass(frozen=True)
class Plan:
    """All steps in order, what to do now, and the outcome once there is one."""

    steps: tuple[PlannedStep, ...]
    actions: tuple[Action, ...]
    outcome: Outcome | None

    def step(self, name: str) -> PlannedStep:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)


def plan(
    spec: DistillationSpec,
    inputs: Inputs,
    manifests: ManifestReader,
    observations: Mapping[str, Observation],
    *,
    now: float,
    capacity: int = 1,
) -> Plan:
    """What to do now.

    `manifests(stage, key)` is the manifest or None; `observations` is by key; `now` is in the seconds of
    `Observation.ended_at`; `capacity` is how many jobs may run at a time.
    """
    steps = [_observe(step, manifests, observations, now=now) for step in steps_of(spec, inputs, manifests)]
    wanted = {step.key for step in steps if step.key}
    running = [key for key, seen in observations.items() if seen.running]
    stops = [Stop(key) for key in running if spec.suspend or key not in wanted]
    if spec.suspend:
        return Plan(tuple(steps), tuple(stops), None if running else Outcome.SUSPENDED)
    failed = any(step.state is StepState.FAILED for step in steps)
    free = capacity - sum(step.state is StepState.RUNNING for step in steps)
    ready = [step for step in steps if step.state is StepState.READY]
    starts = [] if failed else [Start(step) for step in _distinct(ready)[: max(free, 0)]]
    return Plan(tuple(steps), (*stops, *starts), _outcome(steps, still_running=bool(running)))


def _observe(
    step: Step, manifests: ManifestReader, observations: Mapping[str, Observation], *, now: float
) -> PlannedStep:
    definition = step.definition
    if step.request is None:
        return PlannedStep(step.name, definition.service, definition.name, StepState.WAITING, message=step.waits_for)
    key = request_key(definition.name, definition.logic_version, step.request)
    manifest = manifests(definition.name, key)
    state, message, exit_code = StepState.DONE, "", EXIT_DONE
    if manifest is None:
        state, message, exit_code = _state(observations.get(key), now=now)
    return PlannedStep(
        step.name,
        definition.service,
        definition.name,
        state,
        key=key,
        request=step.request,
        serves=step.serves,
        manifest=manifest,
        message=message,
        exit_code=exit_code,
    )


def _state(seen: Observation | None, *, now: float) -> tuple[StepState, str, int]:
    """State, message and exit code of a step that is not done. One that was given up may succeed another day."""
    if seen is None:
        return StepState.READY, "", EXIT_DONE
    if seen.running:
        return StepState.RUNNING, "", EXIT_DONE
    if seen.exit_code not in _TRY_AGAIN:
        return StepState.FAILED, seen.message, seen.exit_code
    if seen.attempts >= MAX_ATTEMPTS:
        return StepState.FAILED, f"{seen.message} ({GAVE_UP} {seen.attempts} attempts)", EXIT_TEMPORARY
    wait = seen.ended_at + _FIRST_RETRY_SECONDS * 2 ** (seen.attempts - 1) - now
    return StepState.RETRYING if wait > 0 else StepState.READY, seen.message, EXIT_DONE


def _distinct(steps: Sequence[PlannedStep]) -> list[PlannedStep]:
    """Two steps with one key are one job."""
    return list({step.key: step for step in reversed(steps)}.values())[::-1]


def _outcome(steps: Sequence[PlannedStep], *, still_running: bool) -> Outcome | None:
    if any(step.state is StepState.FAILED for step in steps):
        return None if still_running else Outcome.FAILED
    if any(step.state is not StepState.DONE for step in steps):
        return None
    return Outcome.SUCCEEDED if all(gates_passed(step) for step in steps) else Outcome.GATES_FAILED


def gates_passed(step: PlannedStep) -> bool:
    """False for a finished evaluation of which a gate failed."""
    result = step.result(EvaluateResult) if step.stage == EVALUATE.name else None
    return result is None or result.passed or not result.gates
