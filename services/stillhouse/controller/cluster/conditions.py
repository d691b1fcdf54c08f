"""The conditions of a Distillation's status, from what was seen. Pure; called by status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stillhouse.controller.cluster.view import View, gate_words
from stillhouse.controller.plan import Outcome, PlannedStep, StepState, gates_passed
from stillhouse.controller.teacher_requests import keeps_own_prompts
from stillhouse.stages import EVALUATE, OPTIMIZE
from stillhouse.v1.optimizer_pb2 import OptimizeResult

Json = dict[str, Any]

MESSAGE_CHARACTERS = 1024


@dataclass(frozen=True)
class Condition:
    """One condition; status is True, False or Unknown."""

    type: str
    status: str
    reason: str
    message: str

    def entry(self, generation: int, previous: Json, stamp: str) -> Json:
        """As the status lists it; the time of its last change is that of the `previous` status while it stays."""
        old = next((old for old in previous.get("conditions", []) if old["type"] == self.type), None) or {}
        return {
            "type": self.type,
            "status": self.status,
            "reason": self.reason,
            "message": self.message[:MESSAGE_CHARACTERS],
            "observedGeneration": generation,
            "lastTransitionTime": old.get("lastTransitionTime", stamp) if old.get("status") == self.status else stamp,
        }


def conditions(view: View) -> list[Condition]:
    """All of them, always, in the order of the work."""
    step_of = view.plan.step
    return [
        _of_step("DatasetReady", step_of("dataset"), view),
        _optimized(view),
        _of_step("Trained", step_of("train"), view),
        _of_step("Exported", step_of("export"), view),
        _evaluated(view),
        serving_condition(view),
        _succeeded(view),
        Condition("Suspended", "True", "Requested", "spec.suspend is true")
        if view.suspended
        else Condition("Suspended", "False", "NotRequested", ""),
    ]


def _of_step(name: str, step: PlannedStep, view: View) -> Condition:
    match step.state:
        case StepState.DONE:
            return Condition(name, "True", "Done", "")
        case StepState.FAILED:
            return Condition(name, "False", "Failed", step.message)
        case StepState.WAITING:
            return Condition(name, "False", "Waiting", f"after {step.message}")
        case _:
            job = view.job(step)
            return Condition(name, "False", (job.state or step.state.value).capitalize(), job.note or step.message)


def _optimized(view: View) -> Condition:
    step = next((step for step in view.plan.steps if step.stage == OPTIMIZE.name), None)
    if step is None:
        return Condition("Optimized", "False", "NotRequested", "no optimization is asked for")
    result = step.result(OptimizeResult)
    if result is None:
        return _of_step("Optimized", step, view)
    scores = f"{result.baseline_score:.3f} with the role's own prompt, {result.score:.3f} with the program"
    if keeps_own_prompts(step.request, result):
        scores += "; that is no more, so the teacher is asked with the prompts of its stages"
    return Condition("Optimized", "True", "Done", scores)


def _evaluated(view: View) -> Condition:
    for step in view.plan.steps:
        if step.stage == EVALUATE.name and step.state is not StepState.DONE:
            return _of_step("Evaluated", step, view)
    gated = view.plan.step("evaluate")
    return Condition("Evaluated", "True", "GatesPassed" if gates_passed(gated) else "GatesFailed", gate_words(gated))


def serving_condition(view: View) -> Condition:
    """Whether the student serves what this Distillation made, and why not."""
    serving = view.serving
    if serving is None and view.suspended:
        return Condition("Serving", "Unknown", "Suspended", "spec.suspend is true: what is served stays as it is")
    if serving is None:
        return Condition("Serving", "False", "NoModel", "there is no evaluated model yet")
    if not serving.is_ours:
        return Condition("Serving", "False", serving.reason, serving.message)
    if not serving.is_ready:
        return Condition("Serving", "False", "RollingOut", serving.message)
    return Condition("Serving", "True", serving.reason, serving.message)


def _succeeded(view: View) -> Condition:
    match view.plan.outcome:
        case Outcome.SUCCEEDED:
            return Condition("Succeeded", "True", "Succeeded", "every stage is done and every gate passed")
        case Outcome.GATES_FAILED:
            return Condition("Succeeded", "False", "GatesFailed", view.message)
        case Outcome.FAILED:
            return Condition("Succeeded", "False", "Failed", view.message)
        case Outcome.SUSPENDED:
            return Condition("Succeeded", "Unknown", "Suspended", "spec.suspend is true")
        case None:
            return Condition("Succeeded", "Unknown", "Running", "")
