"""`stillhouse concepts`: synthesized inputs of a role as a file of concepts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stillhouse.cli.choices import chosen_role
from stillhouse.cli.errors import as_usage

if TYPE_CHECKING:
    from stillhouse.roles.role import Example, Role


def concepts(
    output: Annotated[Path, typer.Option(help="JSONL: one concept a line, inputs and labels by name.")],
    role: Annotated[str, typer.Option(help="The role whose inputs are synthesized.")] = "product_owner",
    count: Annotated[int, typer.Option(min=1, help="How many; a longer file of the same seed begins alike.")] = 400,
    seed: Annotated[int, typer.Option(help="The same seed gives the same concepts.")] = 42,
    planted: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Fraction with planted findings, which stand in the labels.")
    ] = 0.3,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that is there.")] = False,
) -> None:
    """Synthesizes concepts to ask a teacher about."""
    from stillhouse.cli.files import write_lines
    from stillhouse.cli.tables import console
    from stillhouse.dataset.concepts import concept_line
    from stillhouse.errors import FailedPrecondition

    chosen = chosen_role(role)
    if output.exists() and not overwrite:
        raise FailedPrecondition(f"{output} exists; say --overwrite to replace it, or name another output")
    tally: Counter[str] = Counter()
    with as_usage("--count"):
        examples = chosen.examples(count=count, seed=seed, planted=planted)
    write_lines(output, (concept_line(example) for example in _tallied(examples, chosen, tally)))
    console().print(_said(tally, output), markup=False, soft_wrap=True)


_ALL = "concepts"
_PLANTED = "with planted findings"
_TIER = "tier="


def _tallied(examples: Iterable[Example], role: Role, tally: Counter[str]) -> Iterator[Example]:
    for example in examples:
        tally[_ALL] += 1
        if "tier" in example.labels:
            tally[_TIER + example.labels["tier"]] += 1
        # Against no answer at all, whatever is planted is missed.
        if any(detection.missed for detection in role.detections(example.labels, {}).values()):
            tally[_PLANTED] += 1
        yield example


def _said(tally: Counter[str], output: Path) -> str:
    tiers = [f"{name.removeprefix(_TIER)} {number}" for name, number in tally.items() if name.startswith(_TIER)]
    of_tiers = f" ({', '.join(tiers)})" if tiers else ""
    return f"{tally[_ALL]} {_ALL}{of_tiers}, {tally[_PLANTED]} {_PLANTED}, written to {output}"
