"""What a teacher may cost, as a table. Called by `generate --dry-run` and `run --dry-run`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from stillhouse.cli.tables import rows_table
from stillhouse.teacher_generator.estimate import StageEstimate
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest


def print_estimates(screen: Console, estimates: Sequence[StageEstimate], request: GenerateRecordsRequest) -> None:
    """One line a stage; from "every first answer is good" to "as the recorded pipeline fared"."""
    rows = [
        [
            estimate.name,
            f"{estimate.records:,}",
            f"{estimate.calls[0]:,} to {estimate.calls[1]:,}",
            f"{estimate.prompt_tokens:,} + {estimate.output_tokens:,}",
            _cost(estimate.cost_usd),
        ]
        for estimate in estimates
    ]
    screen.print(rows_table(["teacher", "records", "calls", "tokens a call", "cost"], rows))
    if request.HasField("max_cost_usd"):
        screen.print(f"budget: no call starts that could pass ${request.max_cost_usd:.2f}", highlight=False)


def _cost(cost: tuple[float, float] | None) -> str:
    if cost is None:
        return "price not known"
    return f"${cost[0]:.2f} to ${cost[1]:.2f}" if cost[1] else "free"
