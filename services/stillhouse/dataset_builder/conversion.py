"""What a candidate was answered: as a record to validate on, and as outputs to train on if they are valid.

Used by sieve and division, and by the command line where rows go to training without a data set being built.
"""

from __future__ import annotations

from collections.abc import Mapping

from stillhouse.dataset.importing import Candidate
from stillhouse.dataset.records import DataRecord
from stillhouse.roles.role import Role


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
