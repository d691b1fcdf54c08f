"""Rows of a file to records that a trainer reads: outputs read from the response where need be, canonical, scored.

Called by `stillhouse train` and `stillhouse dataset export`. It knows the role only as a protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stillhouse.dataset.importing import Candidate, read_candidates
from stillhouse.dataset.lines import lines_of
from stillhouse.dataset.records import DataRecord
from stillhouse.dataset_builder.conversion import answered_outputs
from stillhouse.errors import InvalidArgument
from stillhouse.roles.role import Role


@dataclass
class Tally:
    """Rows kept and left out."""

    kept: int = 0
    left_out: int = 0
    first_reason: str = ""
    """Place and reason of the first row that was left out."""

    def __str__(self) -> str:
        """One line for a person."""
        if not self.left_out:
            return f"{self.kept} records"
        return f"{self.kept} records; {self.left_out} rows left out, the first: {self.first_reason}"


def records_of(path: Path, role: Role, tally: Tally) -> Iterator[DataRecord]:
    """The file's rows (flat or records) as records; those whose answer is not valid are counted and left out.

    Raises NotFound, PermissionDenied and InvalidArgument that names file and line.
    """
    for candidate in read_candidates(lines_of(path), source=path.name, shape=role):
        record = _record(candidate, role)
        if isinstance(record, DataRecord):
            tally.kept += 1
            yield record
        else:
            tally.left_out += 1
            tally.first_reason = tally.first_reason or f"{candidate.row.place}: {record}"


def _record(candidate: Candidate, role: Role) -> DataRecord | str:
    outputs, problems = answered_outputs(role, candidate)
    if problems:
        return problems[0]
    try:
        canonical = role.canonical(outputs)
    except InvalidArgument as exc:
        return exc.message
    labels = {**candidate.labels, **role.labels(canonical)}
    score = candidate.score if candidate.score is not None else role.score(candidate.inputs, canonical).score
    return DataRecord(candidate.inputs, canonical, candidate.response, score, labels)
