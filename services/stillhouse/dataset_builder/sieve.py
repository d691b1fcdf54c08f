"""Decides of each candidate, in order, whether it becomes a record, and with which reason if not.

Used by building. It keeps digests and counts, never a row, and writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from stillhouse.dataset.balance import Balance
from stillhouse.dataset.importing import Candidate
from stillhouse.dataset.lines import json_line
from stillhouse.dataset.records import DataRecord
from stillhouse.dataset_builder.conversion import answered_outputs
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
    answered_score: float = 0.0


@dataclass(frozen=True)
class Refused:
    """A candidate that did not; `reason` is one of this module's or a guard's name, `details` are for a person.

    `score` is of the canonical outputs, where there are such; `answered_score` of the outputs as they were answered,
    unless it is contaminated.
    """

    reason: str
    details: tuple[str, ...]
    outputs: Mapping[str, str]
    score: float | None = None
    answered_score: float | None = None


class Sieve:
    """Contamination comes first, so that its count is that of all rows; each candidate leaves at one reason."""

    def __init__(self, role: Role, options: BuildOptions, *, is_held_out: Callable[[str], bool]) -> None:
        """`is_held_out` says whether the validation set holds a group key."""
        self._role = role
        self._options = options
        self._is_held_out = is_held_out
        self._seen: set[bytes] = set()
        self._balance = Balance(options.balance)

    def sift(self, candidate: Candidate) -> Admitted | Refused:
        """The verdict on the next candidate. Raises InvalidArgument where a metric of the user's own fails."""
        key = self._role.group_key(candidate.inputs)
        if self._is_held_out(key):
            return Refused(CONTAMINATED, (f"the validation set holds {key!r}",), candidate.outputs)
        answered, problems = answered_outputs(self._role, candidate)
        verdict = self._sift_answer(candidate, answered, problems)
        score = self._options.metric
        with _naming(candidate):
            return replace(verdict, answered_score=score(candidate.inputs, answered).score)

    def _sift_answer(
        self, candidate: Candidate, answered: Mapping[str, str], problems: tuple[str, ...]
    ) -> Admitted | Refused:
        canonical = None if problems else self._canonical(answered)
        if canonical is None or isinstance(canonical, InvalidArgument):
            return Refused(UNPARSABLE, problems or (str(canonical),), answered)
        if self._was_seen(candidate.inputs, canonical):
            return Refused(DUPLICATE, ("the same inputs and outputs came before",), canonical)
        return self._judge(candidate, canonical)

    def _judge(self, candidate: Candidate, canonical: Mapping[str, str]) -> Admitted | Refused:
        verdict = self._score(candidate, canonical)
        if verdict.score < self._options.min_score:
            detail = f"score {verdict.score:.4f} is below {self._options.min_score:g}"
            return Refused(LOW_SCORE, (detail,), canonical, verdict.score)
        if verdict.guards:
            details = tuple(f"{finding.guard}: {finding.reason}" for finding in verdict.guards)
            return Refused(verdict.guards[0].guard, details, canonical, verdict.score)
        labels = {**candidate.labels, **self._role.labels(canonical)}
        full = self._balance.take(labels)
        if full is not None:
            detail = f"{full.label}={full.value} has its {full.max_records} records"
            return Refused(BALANCE, (detail,), canonical, verdict.score)
        return Admitted(DataRecord(candidate.inputs, canonical, candidate.response, verdict.score, labels))

    def _canonical(self, outputs: Mapping[str, str]) -> Mapping[str, str] | InvalidArgument:
        try:
            return dict(self._role.canonical(outputs))
        except InvalidArgument as exc:
            return exc

    def _score(self, candidate: Candidate, outputs: Mapping[str, str]) -> RecordScore:
        options = self._options
        with _naming(candidate):
            return score_record(
                self._role, candidate.inputs, outputs=outputs, guards=options.guards, metric=options.metric
            )

    def _was_seen(self, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> bool:
        text = json_line({"inputs": dict(inputs), "outputs": dict(outputs)})
        digest = hashlib.sha256(text.encode()).digest()[:16]
        if digest in self._seen:
            return True
        self._seen.add(digest)
        return False


@contextmanager
def _naming(candidate: Candidate) -> Iterator[None]:
    """Puts file and line before the error of a metric of the user's own."""
    try:
        yield
    except InvalidArgument as exc:
        raise InvalidArgument(f"{candidate.row.place}: {exc.message}", field=exc.field) from exc
