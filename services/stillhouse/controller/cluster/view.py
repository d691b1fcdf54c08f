"""What is seen of a Distillation, and what that is in a word or a line. Pure.

Filled by the reconciler; read by `status` and `conditions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stillhouse.controller.plan import Outcome, Plan, PlannedStep, StepState, gates_passed
from stillhouse.v1.common_pb2 import Progress
from stillhouse.v1.evaluator_pb2 import EvaluateResult


@dataclass(frozen=True)
class Job:
    """A step's Job, for people."""

    name: str = ""
    state: str = ""
    note: str = ""


@dataclass(frozen=True)
class Serving:
    """What is served under the Distillation's student's name."""

    is_ours: bool
    is_ready: bool
    reason: str
    message: str


@dataclass(frozen=True)
class View:
    """Everything that a status says."""

    plan: Plan
    generation: int
    store_uri: str
    suspended: bool
    validation_sha256: str = ""
    jobs: Mapping[str, Job] = field(default_factory=dict)
    """By step name."""
    progress: Mapping[str, Progress] = field(default_factory=dict)
    """By step name."""
    serving: Serving | None = None

    @property
    def stage(self) -> str:
        """One word for the column: what runs, or how it ended."""
        match self.plan.outcome:
            case Outcome.SUCCEEDED:
                return "Succeeded"
            case Outcome.GATES_FAILED:
                return "GatesFailed"
            case Outcome.FAILED:
                return "Failed"
            case Outcome.SUSPENDED:
                return "Suspended"
            case None:
                step = _current(self.plan)
                if step is None:
                    return "Pending"
                return "queued" if self.job(step).state == "queued" else step.name

    @property
    def message(self) -> str:
        """What there is to say of that, in a line."""
        match self.plan.outcome:
            case Outcome.GATES_FAILED:
                return gate_words(next(step for step in self.plan.steps if not gates_passed(step)))
            case Outcome.FAILED:
                failed = next(step for step in self.plan.steps if step.state is StepState.FAILED)
                return f"{failed.name}: {failed.message}"
            case Outcome.SUCCEEDED:
                return gate_words(self.plan.step("evaluate"))
            case _:
                step = _current(self.plan)
                if step is None:
                    return ""
                job, progress = self.job(step), self.progress.get(step.name)
                said = job.note or (_progress_words(progress) if progress else step.message)
                return f"{step.name}: {said}" if said else step.name

    def job(self, step: PlannedStep) -> Job:
        """Of that step; without a name if it has none."""
        return self.jobs.get(step.name, Job())


def _current(plan: Plan) -> PlannedStep | None:
    """What a person asks after: what runs, else what is about to."""
    for wanted in (StepState.RUNNING, StepState.RETRYING, StepState.READY, StepState.FAILED):
        for step in plan.steps:
            if step.state is wanted:
                return step
    return None


def gate_words(step: PlannedStep) -> str:
    """Why gates of an evaluation failed, or that they passed; empty where it has none."""
    result = step.result(EvaluateResult)
    if result is None or not result.gates:
        return ""
    failed = [gate.reason for gate in result.gates if not gate.passed]
    return "; ".join(failed) if failed else f"all {len(result.gates)} gates passed"


def _progress_words(progress: Progress) -> str:
    count = f"{progress.done}/{progress.total} {progress.unit}" if progress.total else ""
    return " ".join(part for part in (progress.message, count) if part)
