"""Candidates to records as they stand: canonical ones to train on, verbatim ones to validate on; none is dropped.

Used by sieve and division, and by the command line where rows go to a stage without a data set being built.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from stillhouse.dataset.importing import Candidate, read_candidates
from stillhouse.dataset.records import DataRecord
from stillhouse.errors import InvalidArgument
from stillhouse.roles.role import Role


def training_records(role: Role, lines: Iterable[str], *, source: str) -> Iterator[DataRecord]:
    """Records to train or tune on, of flat rows or of records, outputs made canonical.

    Raises InvalidArgument that names file and line of a row that is corrupt or whose answer is not valid.
    """
    for candidate in read_candidates(lines, source=source, shape=role):
        outputs, problems = answered_outputs(role, candidate)
        if problems:
            raise InvalidArgument(f"{candidate.row.place}: the answer is not valid: {'; '.join(problems)}")
        try:
            canonical = dict(role.canonical(outputs))
        except InvalidArgument as exc:
            raise InvalidArgument(f"{candidate.row.place}: the answer is not valid: {exc.message}") from exc
        yield DataRecord(candidate.inputs, canonical, candidate.response, candidate.score, candidate.labels)


def validation_records(role: Role, lines: Iterable[str], *, source: str) -> Iterator[DataRecord]:
    """Records to validate on, of flat rows or of records; answers are kept as recorded where there are any.

    Raises InvalidArgument that names file, line and field of a row that is corrupt or lacks an input.
    """
    for candidate in read_candidates(lines, source=source, shape=role, answered=False):
        yield validation_record(role, candidate)


def validation_record(role: Role, candidate: Candidate) -> DataRecord:
    """As recorded: its score is of these outputs, so they stay verbatim."""
    outputs = candidate.outputs
    if not outputs and candidate.response is not None:
        outputs = role.parse(candidate.response).outputs
    return DataRecord(candidate.inputs, dict(outputs), candidate.response, candidate.score, candidate.labels)


def answered_outputs(role: Role, candidate: Candidate) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The outputs of a candidate as they were answered, and why they are not valid, for a person."""
    if all(name in candidate.outputs for name in role.output_fields) or candidate.response is None:
        return candidate.outputs, tuple(role.problems(candidate.outputs))
    answer = role.parse(candidate.response)
    return answer.outputs, tuple(answer.problems) or tuple(role.problems(answer.outputs))
