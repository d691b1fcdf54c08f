"""Rows from outside to candidates for a data set: a role's fields by name, flat, or records of a built data set.

Called by dataset_builder and by the command line's checks. It knows field names only as its caller's shape gives them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stillhouse.dataset.lines import Row, read_rows
from stillhouse.dataset.records import record_of, score_in
from stillhouse.dataset.shape import RecordShape
from stillhouse.errors import InvalidArgument


@dataclass(frozen=True)
class Candidate:
    """A row that may become a record: with all `outputs`, a `response` to read them from, or (to validate on) neither.

    `score` is what was recorded, in [0, 1]; `labels` are the row's other scalars as text, `model` among them.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    response: str | None
    score: float | None
    labels: Mapping[str, str]
    row: Row


def read_candidates(
    lines: Iterable[str],
    *,
    source: str,
    shape: RecordShape,
    required: Sequence[str] | None = None,
    answered: bool = True,
) -> Iterator[Candidate]:
    """The candidates of JSONL rows, in their order.

    `required` are the inputs that must be there (default: all but the optional ones); `answered` rows must have a
    response or every output. Raises InvalidArgument that names file, line and field where a row is corrupt or lacks
    what it needs.
    """
    if required is None:
        required = required_inputs(shape)
    for row in read_rows(lines, source=source):
        yield candidate_of(row, shape, required=required, answered=answered)


def required_inputs(shape: RecordShape) -> tuple[str, ...]:
    """The inputs that no row may lack."""
    return tuple(name for name in shape.input_fields if name not in shape.optional_inputs)


def candidate_of(row: Row, shape: RecordShape, *, required: Sequence[str], answered: bool) -> Candidate:
    """The candidate that a row holds. Raises InvalidArgument that names file, line and field."""
    candidate = _built(row, shape) if isinstance(row.values.get("inputs"), dict) else _flat(row, shape)
    for name in required:
        if not candidate.inputs.get(name, "").strip():
            raise InvalidArgument(f"{row.place}: required field {name!r} is missing or blank", field=name)
    if answered and candidate.response is None:
        for name in shape.output_fields:
            if name not in candidate.outputs:
                raise InvalidArgument(
                    f"{row.place}: field {name!r} is missing; a row has 'response' or every output", field=name
                )
    return candidate


def labelled(candidate: Candidate, model: str) -> Candidate:
    """With an import's model where the row names none."""
    if not model or "model" in candidate.labels:
        return candidate
    return replace(candidate, labels={**candidate.labels, "model": model})


def _built(row: Row, shape: RecordShape) -> Candidate:
    record = record_of(row)
    known = {*shape.input_fields}
    for name in record.inputs:
        if name not in known:
            raise InvalidArgument(f"{row.place}: unknown input {name!r}; is this another role's data set?", field=name)
    return Candidate(record.inputs, record.outputs, record.response, record.score, record.labels, row)


def _flat(row: Row, shape: RecordShape) -> Candidate:
    inputs = _fields(row, shape.input_fields)
    outputs = _fields(row, shape.output_fields)
    response = _text(row, "response")
    used = {*shape.input_fields, *shape.output_fields, "response", "score"}
    labels = {name: text for name, value in row.values.items() if name not in used and (text := label_text(value))}
    return Candidate(inputs, outputs, response, score_in(row), labels, row)


def _fields(row: Row, names: Iterable[str]) -> dict[str, str]:
    return {name: text for name in names if (text := _text(row, name)) is not None}


def _text(row: Row, name: str) -> str | None:
    value = row.values.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidArgument(f"{row.place}: field {name!r} is no text but {type(value).__name__}", field=name)
    return value


def label_text(value: Any) -> str:
    """A scalar as a label's text, else nothing: rows that `stillhouse score` wrote carry parts and guards."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (str, int, float)) else ""
