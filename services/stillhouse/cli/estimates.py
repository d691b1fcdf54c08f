"""What a teacher may cost, as a table. Called by `generate --dry-run` and `run --dry-run`."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from stillhouse.artifacts.store import Store
from stillhouse.cli.tables import rows_table
from stillhouse.dataset.concepts import read_concepts
from stillhouse.roles.role import load_role
from stillhouse.teacher_generator.estimate import estimate
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest


def print_estimate(
    screen: Console,
    request: GenerateRecordsRequest,
    concepts: Iterable[str],
    *,
    source: str,
    store: Store | None = None,
) -> None:
    """One line a stage; from "every first answer is good" to "as the recorded pipeline fared".

    `concepts` are lines of JSON; `store` holds the programs that the request names. Raises InvalidArgument that names
    `source` where a concept is broken, and what reading a program raises.
    """
    role = load_role(request.role.name)
    asked = (concept.inputs for concept in read_concepts(concepts, source=source, shape=role))
    rows = [
        [
            stage.name,
            f"{stage.records:,}",
            f"{stage.calls[0]:,} to {stage.calls[1]:,}",
            f"{stage.prompt_tokens:,} + {stage.output_tokens:,}",
            _cost(stage.cost_usd),
        ]
        for stage in estimate(request, role, asked, store)
    ]
    screen.print(rows_table(["teacher", "records", "calls", "tokens a call", "cost"], rows))
    if request.HasField("max_cost_usd"):
        screen.print(f"budget: no call starts that could pass ${request.max_cost_usd:.2f}", highlight=False)


def _cost(cost: tuple[float, float] | None) -> str:
    if cost is None:
        return "price not known"
    return f"${cost[0]:.2f} to ${cost[1]:.2f}" if cost[1] else "free"
