"""How a student did, for a person: evaluations side by side, gates with their reasons. Called at the end of a run."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stillhouse.controller.plan import Outcome, Plan, PlannedStep
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetResult
from stillhouse.v1.evaluator_pb2 import EvaluateResult
from stillhouse.v1.trainer_pb2 import TrainResult

_TITLES = {
    "evaluate": "student",
    "evaluate-base": "base model",
    "evaluate-unconstrained": "student, no grammar",
    "evaluate-constrained": "student, role grammar",
}


def print_evaluations(console: Console, plan: Plan) -> None:
    """Prints data, training, one row an evaluation, and the gates."""
    _print_making(console, plan)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for column in ("rows", "mean", "std", "min", "valid", "guards", "seconds", "tokens/s"):
        table.add_column(column, justify="right")
    for step in plan.steps:
        result = evaluation_of(step)
        if result is not None:
            made = result.evaluation
            table.add_row(
                _TITLES.get(step.name, step.name),
                f"{made.scores.count}",
                f"{made.scores.mean:.3f}",
                f"{made.scores.std:.3f}",
                f"{made.scores.min:.3f}",
                f"{made.valid_rate:.0%}",
                f"{made.guard_rate:.0%}",
                f"{made.median_seconds:.1f}",
                f"{made.tokens_per_second:.0f}",
            )
    console.print(table)
    _print_gates(console, plan)


def evaluation_of(step: PlannedStep) -> EvaluateResult | None:
    """The result of a finished evaluation step, else None."""
    result = EvaluateResult()
    if step.manifest is None or not step.manifest.result.Unpack(result):
        return None
    return result


def _print_making(console: Console, plan: Plan) -> None:
    data, training = BuildDatasetResult(), TrainResult()
    dataset_step, train_step = plan.step("dataset"), plan.step("train")
    if dataset_step.manifest is not None and dataset_step.manifest.result.Unpack(data):
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(data.refused_by_reason.items()))
        console.print(
            f"\ndata      {data.rows_read} rows read; {data.train_records} train, {data.tuning_records} tuning, "
            f"{data.validation_records} validation; refused: {reasons or 'none'}",
            highlight=False,
            soft_wrap=True,
        )
    if train_step.manifest is not None and train_step.manifest.result.Unpack(training):
        console.print(
            f"training  {training.steps} steps on {training.device} ({training.precision}); train loss "
            f"{training.final_train_loss:.4f}, best tuning loss {training.best_tuning_loss:.4f} "
            f"at step {training.best_step}\n",
            highlight=False,
            soft_wrap=True,
        )


def _print_gates(console: Console, plan: Plan) -> None:
    result = evaluation_of(plan.step("evaluate"))
    if result is None:
        return
    console.print()
    for gate in result.gates:
        mark = Text("  ✓ " if gate.passed else "  ✗ ", style="green" if gate.passed else "red")
        console.print(mark + Text(gate.reason))
    if plan.outcome is Outcome.SUCCEEDED:
        console.print("all gates passed", style="green")
    else:
        failed = sum(not gate.passed for gate in result.gates)
        console.print(f"{failed} of {len(result.gates)} gates failed; everything made is kept", style="red")
