"""Records of a built data set: what dataset_builder writes and trainer, exporter and evaluator read.

One JSON object a line, keys sorted: inputs, outputs (canonical), response, score, labels. It knows no role's fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stillhouse.dataset.lines import Row, json_line, read_rows
from stillhouse.errors import InvalidArgument


@dataclass(frozen=True)
class DataRecord:
    """One row. `score` is in [0, 1]; `response` is the raw answer; labels are text that no model sees."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    response: str | None = None
    score: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def read_records(lines: Iterable[str], *, source: str) -> Iterator[DataRecord]:
    """The records of JSONL lines; blank lines are skipped.

    Raises InvalidArgument that names `source` and line where a line is corrupt or no record.
    """
    for row in read_rows(lines, source=source):
        yield record_of(row)


def record_of(row: Row) -> DataRecord:
    """The record that a row holds. Raises InvalidArgument that names its file, line and field."""
    unknown = row.values.keys() - {"inputs", "outputs", "response", "score", "labels"}
    if unknown:
        raise InvalidArgument(f"{row.place}: unknown field {min(unknown)!r} in a data set record")
    inputs = _texts(row, "inputs")
    if not inputs:
        raise InvalidArgument(f"{row.place}: field 'inputs' is missing or empty; is this a data set record?")
    response = row.values.get("response")
    if response is not None and not isinstance(response, str):
        raise InvalidArgument(f"{row.place}: field 'response' is no text")
    return DataRecord(inputs, _texts(row, "outputs"), response, score_in(row), _texts(row, "labels"))


def write_record(record: DataRecord) -> str:
    """The record as one JSONL line with its line break; equal records give equal bytes."""
    values: dict[str, Any] = {"inputs": dict(record.inputs), "outputs": dict(record.outputs), "score": record.score}
    values["labels"] = dict(record.labels)
    if record.response is not None:
        values["response"] = record.response
    return json_line(values)


def score_in(row: Row) -> float | None:
    """The row's `score`, absent or null as None. Raises InvalidArgument if it is no number within 0 and 1."""
    score = row.values.get("score")
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not 0 <= score <= 1:
        raise InvalidArgument(f"{row.place}: field 'score' is no number within 0 and 1: {str(score)[:60]!r}")
    return float(score)


def _texts(row: Row, name: str) -> dict[str, str]:
    values = row.values.get(name)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InvalidArgument(f"{row.place}: field {name!r} is no object")
    for key, value in values.items():
        if not isinstance(value, str):
            raise InvalidArgument(f"{row.place}: field {name}.{key} is no text")
    return values
