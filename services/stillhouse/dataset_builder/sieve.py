"""Decides of each candidate, in order, whether it becomes a record, and with which reason if not.

Used by building. It keeps digests and counts, never a row, and writes nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stillhouse.dataset.importing import Candidate
from stillhouse.dataset.lines import json_line
from stillhouse.dataset.records import DataRecord
from stillhouse.dataset_builder.options import BuildOptions
from stillhouse.errors import InvalidArgument
from stillhouse.roles.role import Role
from stillhouse.roles.scoring import RecordScore, score_record

CONTAMINATED = "contaminated"
UNPARSABLE = "unparsable"
DUPLICATE = "duplicate"
LOW_SCORE = "low_score"
BALANCE = "balance"


@dataclass(frozen=True)
class Admitted:
    """A candidate that became a record; `answered_score` is the metric over its outputs as they were answered."""

    record: DataRecord
    answered_score: float


@dataclass(frozen=True)
class Refused:
    """A candidate that did not; `reason` is one of this module's or a guard's name, `details` are for a person."""

    reason: str
    details: tuple[str, ...]
    outputs: Mapping[str, str]
    score: float | None = None


class Sieve:
    """Contamination comes first, so that its count is that of all rows; each candidate leaves at one reason."""

    def __init__(self, role: Role, options: BuildOptions, *, is_held_out: Callable[[str], bool]) -> None:
        """`is_held_out` says whether the validation set holds a group key."""
        self._role = role
        self._options = options
        self._is_held_out = is_held_out
        self._seen: set[bytes] = set()
        self._balanced: Counter[tuple[str, str]] = Counter()
        self.offered_score: float | None = None
        """Score of the last candidate that was a new, valid answer; None where it was none."""

    def sift(self, candidate: Candidate) -> Admitted | Refused:
        """The verdict on the next candidate. Raises InvalidArgument where a metric of the user's own fails."""
        self.offered_score = None
        key = self._role.group_key(candidate.inputs)
        if self._is_held_out(key):
            return Refused(CONTAMINATED, (f"the validation set holds {key!r}",), candidate.outputs)
        answered, problems = _outputs_of(self._role, candidate)
        canonical = None if problems else self._canonical(answered)
        if canonical is None or isinstance(canonical, InvalidArgument):
            details = problems or (str(canonical),)
            return Refused(UNPARSABLE, tuple(details), answered)
        if self._was_seen(candidate.inputs, canonical):
            return Refused(DUPLICATE, ("the same inputs and outputs came before",), canonical)
        return self._judge(candidate, answered, canonical)

    def _judge(
        self, candidate: Candidate, answered: Mapping[str, str], canonical: Mapping[str, str]
    ) -> Admitted | Refused:
        verdict = self._score(candidate, canonical)
        self.offered_score = verdict.score
        if verdict.score < self._options.min_score:
            detail = f"score {verdict.score:.4f} is below {self._options.min_score:g}"
            return Refused(LOW_SCORE, (detail,), canonical, verdict.score)
        if verdict.guards:
            details = tuple(f"{finding.guard}: {finding.reason}" for finding in verdict.guards)
            return Refused(verdict.guards[0].guard, details, canonical, verdict.score)
        labels = {**candidate.labels, **self._role.labels(canonical)}
        full = self._full_target(labels)
        if full is not None:
            return Refused(BALANCE, (full,), canonical, verdict.score)
        record = DataRecord(candidate.inputs, canonical, candidate.response, verdict.score, labels)
        return Admitted(record, self._options.metric(candidate.inputs, answered).score)

    def _canonical(self, outputs: Mapping[str, str]) -> Mapping[str, str] | InvalidArgument:
        try:
            return dict(self._role.canonical(outputs))
        except InvalidArgument as exc:
            return exc

    def _score(self, candidate: Candidate, outputs: Mapping[str, str]) -> RecordScore:
        options = self._options
        try:
            return score_record(
                self._role, candidate.inputs, outputs=outputs, guards=options.guards, metric=options.metric
            )
        except InvalidArgument as exc:
            raise InvalidArgument(f"{candidate.row.place}: {exc.message}", field=exc.field) from exc

    def _was_seen(self, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> bool:
        text = json_line({"inputs": dict(inputs), "outputs": dict(outputs)})
        digest = hashlib.sha256(text.encode()).digest()[:16]
        if digest in self._seen:
            return True
        self._seen.add(digest)
        return False

    def _full_target(self, labels: Mapping[str, str]) -> str | None:
        """Why the record is surplus; if it is not, it is counted at every target it belongs to."""
        targets = [limit for limit in self._options.balance if labels.get(limit.label) == limit.value]
        for limit in targets:
            if self._balanced[limit.label, limit.value] >= limit.max_records:
                return f"{limit.label}={limit.value} has its {limit.max_records} records"
        for limit in targets:
            self._balanced[limit.label, limit.value] += 1
        return None


def _outputs_of(role: Role, candidate: Candidate) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The outputs as they were answered, and why they are not valid."""
    if all(name in candidate.outputs for name in role.output_fields) or candidate.response is None:
        return candidate.outputs, tuple(role.problems(candidate.outputs))
    answer = role.parse(candidate.response)
    return answer.outputs, tuple(answer.problems) or tuple(role.problems(answer.outputs))
