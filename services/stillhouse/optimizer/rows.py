"""Training and validation rows as DSPy's examples: text only, no labels, no input in both. Called by the stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import dspy

from stillhouse.dataset.importing import read_candidates
from stillhouse.errors import InvalidArgument
from stillhouse.roles.role import Role


def read_examples(lines: Iterable[str], role: Role, *, source: str) -> list[dspy.Example]:
    """The rows of JSONL text: every input ("" for an optional one that is missing), and the outputs if they are whole.

    Raises InvalidArgument that names `source` and line where a row is broken or lacks an input, or that there is none.
    """
    examples = []
    for candidate in read_candidates(lines, source=source, shape=role, answered=False):
        outputs = dict(candidate.outputs)
        if candidate.response is not None and not outputs:
            outputs = dict(role.parse(candidate.response).outputs)
        whole = all(outputs.get(name, "").strip() for name in role.output_fields)
        inputs = {name: candidate.inputs.get(name, "") for name in role.input_fields}
        fields = {**inputs, **({name: outputs[name] for name in role.output_fields} if whole else {})}
        examples.append(dspy.Example(**fields).with_inputs(*role.input_fields))
    if not examples:
        raise InvalidArgument(f"{source} has no rows; an optimizer needs some to learn from and some to score on")
    return examples


def are_answered(examples: Sequence[dspy.Example], role: Role) -> bool:
    """Whether every row holds a whole answer: DSPy takes any of them for a demo."""
    return all(name in example for example in examples for name in role.output_fields)


@dataclass(frozen=True)
class Rows:
    """Examples, and what their user calls them."""

    source: str
    examples: Sequence[dspy.Example]


def check_apart(shown: Rows, judged: Rows, role: Role) -> None:
    """Raises InvalidArgument where an input group is in both: what was shown gives away what is judged."""
    groups = {role.group_key(example.toDict()) for example in shown.examples}
    common = [row for row in judged.examples if role.group_key(row.toDict()) in groups]
    if common:
        first = str(common[0][role.group_field])
        raise InvalidArgument(
            f"{judged.source}: {len(common)} of {len(judged.examples)} rows have a {role.group_field} that is in "
            f"{shown.source} too, the first {first[:80]!r}; take them out of one (stillhouse dataset check finds them)",
            field="train",
        )
