"""How a student did, for a person: evaluations side by side, gates with their reasons. Called at the end of a run."""

from __future__ import annotations

from google.protobuf import json_format
from rich.console import Console
from rich.text import Text

from stillhouse.artifacts.store import Store
from stillhouse.cli.tables import rows_table
from stillhouse.controller.plan import Outcome, Plan
from stillhouse.stages import EVALUATE, GENERATE, OPTIMIZE
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetResult
from stillhouse.v1.evaluator_pb2 import EvaluateResult, Evaluation
from stillhouse.v1.optimizer_pb2 import OptimizeResult
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest, GenerateRecordsResult
from stillhouse.v1.trainer_pb2 import TrainResult

_TITLES = {
    "evaluate-teacher": "teacher",
    "evaluate": "student",
    "evaluate-unoptimized": "student, own prompt",
    "evaluate-base": "base model",
    "evaluate-unconstrained": "student, no grammar",
    "evaluate-constrained": "student, role grammar",
}

EMULATED = "the teacher was the emulator that ships with stillhouse; its scores say nothing of Gemini"


def print_evaluations(screen: Console, plan: Plan, store: Store) -> None:
    """Prints teacher, data, training, prompt, one row an evaluation, and the gates.

    Raises what reading an optimisation's metadata from the store raises.
    """
    screen.print()
    _print_teacher(screen, plan)
    _print_making(screen, plan)
    _print_prompt(screen, plan, store)
    columns = ("", "rows", "mean", "std", "min", "valid", "guards", "seconds", "tokens/s")
    results = ((step.name, step.result(EvaluateResult)) for step in plan.steps if step.stage == EVALUATE.name)
    screen.print(rows_table(columns, [_row(name, result.evaluation) for name, result in results if result is not None]))
    _print_gates(screen, plan)


def _row(step_name: str, made: Evaluation) -> list[str]:
    return [
        _TITLES.get(step_name, step_name),
        f"{made.scores.count}",
        f"{made.scores.mean:.3f}",
        f"{made.scores.std:.3f}",
        f"{made.scores.min:.3f}",
        f"{made.valid_rate:.0%}",
        f"{made.guard_rate:.0%}",
        f"{made.median_seconds:.1f}",
        f"{made.tokens_per_second:.0f}",
    ]


def _print_teacher(screen: Console, plan: Plan) -> None:
    """What asking came to, how stages ended that did not reach their target, and whether it was a teacher at all."""
    step = next((step for step in plan.steps if step.stage == GENERATE.name), None)
    result = None if step is None else step.result(GenerateRecordsResult)
    if step is None or result is None:
        return
    lines = [f"teacher   {_teaching(result)}"]
    lines += [
        f"          stage {stage.name} ended at {stage.accepted:,} records: {stage.ended}"
        for stage in result.stages
        if stage.ended.endswith("exhausted") and stage.attempted
    ]
    stages = step.request.stages if isinstance(step.request, GenerateRecordsRequest) else []
    if any(stage.teacher.provider == "emulator" for stage in stages):
        lines.append(EMULATED)
    for line in lines:
        screen.print(line, highlight=False, markup=False, soft_wrap=True)


def _teaching(result: GenerateRecordsResult) -> str:
    statistics = json_format.MessageToDict(result.statistics)
    made = statistics.get("all", {})
    if not made.get("calls"):
        return f"{result.record_count:,} records, all of them imported"
    words = [f"{result.record_count:,} records of {made['calls']:,.0f} calls"]
    for name, meaning in (("first_success_rate", "accepted at first"), ("repair_success_rate", "repaired")):
        if made.get(name) is not None:
            words.append(f"{100 * made[name]:.0f} % {meaning}")
    if statistics.get("dead_letters"):
        words.append(f"{statistics['dead_letters']:,.0f} concepts set aside")
    return ", ".join([*words, f"${result.cost_usd:.2f}"])


def _print_making(screen: Console, plan: Plan) -> None:
    data, training = plan.step("dataset").result(BuildDatasetResult), plan.step("train").result(TrainResult)
    if data is not None:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(data.refused_by_reason.items()))
        screen.print(
            f"data      {data.rows_read} rows read; {data.train_records} train, {data.tuning_records} tuning, "
            f"{data.validation_records} validation; refused: {reasons or 'none'}",
            highlight=False,
            soft_wrap=True,
        )
    if training is not None:
        screen.print(
            f"training  {training.steps} steps on {training.device} ({training.precision}); train loss "
            f"{training.final_train_loss:.4f}, best tuning loss {training.best_tuning_loss:.4f} "
            f"at step {training.best_step}",
            highlight=False,
            soft_wrap=True,
        )


def _print_prompt(screen: Console, plan: Plan, store: Store) -> None:
    """What the role's own prompt scored, and what the best that was found."""
    step = next((step for step in plan.steps if step.stage == OPTIMIZE.name), None)
    result = None if step is None else step.result(OptimizeResult)
    if step is not None and result is not None:
        from stillhouse.controller.teacher_requests import keeps_own_prompts
        from stillhouse.report.optimization import read_optimization

        made = read_optimization(store, result)
        screen.print(
            f"prompt    {made.baseline:.3f} -> {made.score:.3f} on {made.rows} rows, {made.candidates} candidates "
            f"({made.optimizer})",
            highlight=False,
            soft_wrap=True,
        )
        unused = keeps_own_prompts(step.request, result)
        remark = ", not used: the teacher's stages keep their own prompts" if unused else ""
        screen.print(f"program   sha256:{result.program.sha256}{remark}", highlight=False, soft_wrap=True)
    screen.print()


def _print_gates(screen: Console, plan: Plan) -> None:
    result = plan.step("evaluate").result(EvaluateResult)
    if result is None:
        return
    screen.print()
    for gate in result.gates:
        mark = Text("  ✓ " if gate.passed else "  ✗ ", style="green" if gate.passed else "red")
        screen.print(mark + Text(gate.reason))
    if plan.outcome is Outcome.SUCCEEDED:
        screen.print("all gates passed", style="green")
    else:
        failed = sum(not gate.passed for gate in result.gates)
        screen.print(f"{failed} of {len(result.gates)} gates failed; everything made is kept", style="red")
