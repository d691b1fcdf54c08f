"""The user's concepts: JSONL rows with a role's inputs and labels, without answers; and the line that holds one.

Read by whoever asks teachers, written by `stillhouse concepts`. It knows field names only as its caller's shape gives
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from stillhouse.dataset.importing import candidate_of, label_text
from stillhouse.dataset.lines import Row, json_line, read_rows
from stillhouse.dataset.shape import RecordShape
from stillhouse.errors import InvalidArgument

METADATA = "metadata"
_ANSWERS = ("response", "score")
_RESERVED = frozenset({METADATA, "inputs", "outputs", "labels", *_ANSWERS})


class LabelledInputs(Protocol):
    """What a line holds: a role's Example is one."""

    @property
    def inputs(self) -> Mapping[str, str]:
        """Inputs by name."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """What no model sees."""
        ...


@dataclass(frozen=True)
class ConceptRow:
    """One concept: the inputs that it has, blank ones left out, and labels that no model sees."""

    inputs: Mapping[str, str]
    labels: Mapping[str, str]
    line: int
    """Where it stands in its file, counted from 1."""


def read_concepts(lines: Iterable[str], *, source: str, shape: RecordShape) -> Iterator[ConceptRow]:
    """The concepts of JSONL rows, in their order; blank lines are skipped.

    A row must have the shape's group field; other inputs may lack. The scalars of the object `metadata` and all other
    scalars of the row are labels, as text; where both have a name, the row's own counts. An answer is passed over.
    Rows of a built data set (`inputs`, `labels`) are read too. Raises InvalidArgument that names file, line and field.
    """
    for row in read_rows(lines, source=source):
        metadata = _metadata(row, shape)
        values = {name: value for name, value in row.values.items() if name not in _passed_over(row, shape)}
        found = candidate_of(replace(row, values=values), shape, required=(shape.group_field,), answered=False)
        inputs = {name: text for name, text in found.inputs.items() if text.strip()}
        yield ConceptRow(inputs, {**metadata, **found.labels}, row.line)


def concept_line(example: LabelledInputs) -> str:
    """Inputs and labels side by side as one JSONL line, which `read_concepts` reads back; blank texts are left out.

    Raises InvalidArgument on a label with the name of an input or of a field that has another meaning.
    """
    for name in example.labels:
        if name in example.inputs or name in _RESERVED:
            raise InvalidArgument(f"label {name!r} has the name of another field; rename it", field=name)
    texts = {**example.inputs, **example.labels}
    return json_line({name: text for name, text in texts.items() if text.strip()}, sort_keys=False)


def _passed_over(row: Row, shape: RecordShape) -> frozenset[str]:
    built = isinstance(row.values.get("inputs"), dict)
    return frozenset({*_ANSWERS, "outputs"} if built else {*_ANSWERS, METADATA, *shape.output_fields})


def _metadata(row: Row, shape: RecordShape) -> dict[str, str]:
    values = row.values.get(METADATA)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InvalidArgument(
            f"{row.place}: field {METADATA!r} is no object but {type(values).__name__}", field=METADATA
        )
    labels = {name: text for name, value in values.items() if (text := label_text(value))}
    for name in labels:
        if name in shape.input_fields:
            raise InvalidArgument(
                f"{row.place}: {METADATA} has the input {name!r}, which no model would see; put it beside it",
                field=f"{METADATA}.{name}",
            )
    return labels
