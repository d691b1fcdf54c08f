"""Judges one answer of a teacher: what it holds, whether it is accepted, and if not, for which one reason. Pure.

Called by the dialogue for every answer and by the generation for imported ones; knows no teacher and no store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stillhouse.artifacts.answers import LoggedAnswer
from stillhouse.errors import InvalidArgument
from stillhouse.roles.metric_reference import Metric
from stillhouse.roles.role import ParsedAnswer, Role
from stillhouse.roles.scoring import score_record
from stillhouse.teachers.teacher import FinishReason

MISSING_BLOCK = "missing_block"
MALFORMED = "malformed"
LOW_SCORE = "low_score"
BALANCE = "balance"
GUARD_PREFIX = "guard:"


@dataclass(frozen=True)
class Judgement:
    """What is in an answer. `reason` is empty for one that is accepted."""

    reason: str
    details: tuple[str, ...] = ()
    score: float | None = None
    """In [0, 1]; None where the answer is not valid."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Canonical where the answer is valid, verbatim else."""

    @property
    def is_accepted(self) -> bool:
        """No reason speaks against it."""
        return not self.reason

    @property
    def is_broken(self) -> bool:
        """An output is missing or does not satisfy the role's models: one more request may mend it."""
        return self.reason in (MISSING_BLOCK, MALFORMED)


@dataclass(frozen=True)
class Judge:
    """The role's own judgement, with a stage's threshold. `min_score` is in [0, 1]."""

    role: Role
    guards: Sequence[str]
    min_score: float
    metric: Metric | None = None

    def read(self, answer: LoggedAnswer, *, structured: bool) -> ParsedAnswer:
        """What the role's parser finds in the text."""
        return self.role.parse_structured(answer.text) if structured else self.role.parse(answer.text)

    def judge(self, inputs: Mapping[str, str], parsed: ParsedAnswer) -> Judgement:
        """Accepted, or the first reason that speaks against it: missing, malformed, a guard, a low score.

        Raises InvalidArgument where a metric of the user's own fails.
        """
        missing = [name for name in self.role.output_fields if not (parsed.outputs.get(name) or "").strip()]
        if missing:
            details = tuple(parsed.problems) or tuple(f"there is no {name}" for name in missing)
            return Judgement(MISSING_BLOCK, details, outputs=parsed.outputs)
        problems = tuple(self.role.problems(parsed.outputs))
        if problems:
            return Judgement(MALFORMED, problems, outputs=parsed.outputs)
        try:
            outputs = self.role.canonical(parsed.outputs)
        except InvalidArgument as exc:
            return Judgement(MALFORMED, (exc.message,), outputs=parsed.outputs)
        verdict = score_record(self.role, inputs, outputs=outputs, guards=self.guards, metric=self.metric)
        if verdict.guards:
            reasons = tuple(finding.reason for finding in verdict.guards)
            return Judgement(f"{GUARD_PREFIX}{verdict.guards[0].guard}", reasons, verdict.score, outputs)
        if verdict.score < self.min_score:
            return Judgement(LOW_SCORE, (f"{verdict.score:.3f} is below {self.min_score:g}",), verdict.score, outputs)
        return Judgement("", (), verdict.score, outputs)


def ending_reason(answer: LoggedAnswer) -> str:
    """Why an answer that did not end by itself is no answer: `length`, `blocked`, ...; empty for one that did."""
    return "" if answer.finish_reason == FinishReason.STOP else answer.finish_reason
