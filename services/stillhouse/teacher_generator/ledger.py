"""What a generation leaves behind: records, calls and dead letters as JSON lines, and the running figures.

Written to by the generation, one settled concept at a time and in order. It must not know how answers are asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from stillhouse.dataset.calls import CallFigures
from stillhouse.dataset.digest_set import DigestSet
from stillhouse.dataset.lines import json_line, unwritable
from stillhouse.roles.role import Role
from stillhouse.teacher_generator.dead_letters import dead_letter_line
from stillhouse.teachers.dialogue import Call, Concept, Outcome, inputs_digest

RECORDS, CALLS, DEAD_LETTERS = "records", "calls", "dead_letters"


@dataclass
class StageTally:
    """Counts of one stage."""

    name: str
    accepted: int = 0
    attempted: int = 0
    ended: str = ""


@dataclass(frozen=True)
class LedgerFiles:
    """Open text files. Each line is written whole and flushed."""

    records: IO[str]
    calls: IO[str]
    dead_letters: IO[str]


@dataclass
class Ledger:
    """Lines and figures of one generation."""

    role: Role
    files: LedgerFiles
    records: int = 0
    """Lines of the records file, those that were there before included."""
    present: Counter[int] = field(default_factory=Counter)
    """`inputs_digest`s of records that are there already: an answer to one of them adds no line."""
    answered: DigestSet = field(default_factory=DigestSet)
    """`inputs_digest`s of what was accepted or taken here."""
    is_retry: bool = False
    """Calls are marked as those of a retry."""
    figures: CallFigures = field(default_factory=CallFigures)
    last_score: float | None = None

    def accept(self, outcome: Outcome, *, stage: str, model: str) -> None:
        """Writes the record of an accepted outcome, and its calls."""
        judgement = outcome.accepted
        if judgement is None:
            raise ValueError("the outcome has no accepted answer")
        self._calls(outcome, stage=stage, model=model)
        digest = inputs_digest(outcome.concept.inputs)
        self.answered.add(digest)
        if self.present[digest]:
            self.present[digest] -= 1
            self.last_score = judgement.score
            return
        line = record_line(
            outcome.concept,
            outputs=judgement.outputs,
            response=outcome.response,
            score=judgement.score or 0.0,
            model=model,
            stage=stage,
            repaired=outcome.repaired,
        )
        self._record(line, judgement.score or 0.0)

    def take(self, line: str, inputs: Mapping[str, str], score: float) -> None:
        """Writes a record that was not asked for here: an imported one."""
        self.answered.add(inputs_digest(inputs))
        self._record(line, score)

    def refuse(self, outcome: Outcome, *, stage: str, model: str, reason: str) -> None:
        """Writes the calls of a refused outcome; one that no attempt answered well is a dead letter."""
        self._calls(outcome, stage=stage, model=model, settled_reason=reason if outcome.accepted else "")
        if outcome.accepted is None and not self.is_answered(inputs_digest(outcome.concept.inputs)):
            self._write(self.files.dead_letters, dead_letter_line(outcome, stage=stage, model=model))
            self.figures.dead_letters += 1

    def is_answered(self, digest: int) -> bool:
        """There is a record of those inputs."""
        return digest in self.answered or self.present[digest] > 0

    def _calls(self, outcome: Outcome, *, stage: str, model: str, settled_reason: str = "") -> None:
        last = len(outcome.calls) - 1
        for index, call in enumerate(outcome.calls):
            reason = settled_reason if settled_reason and index == last else call.judgement.reason
            row = call_row(call, outcome.concept, stage=stage, model=model, reason=reason)
            row |= {"retry": True} if self.is_retry else {}
            self._write(self.files.calls, json_line(row))
            self.figures.add(row)

    def _record(self, line: str, score: float) -> None:
        self._write(self.files.records, line)
        self.records += 1
        self.last_score = score

    @staticmethod
    def _write(stream: IO[str], line: str) -> None:
        try:
            stream.write(line)
            stream.flush()
        except OSError as exc:
            raise unwritable(stream.name, exc) from exc


def record_line(
    concept: Concept,
    *,
    outputs: Mapping[str, str],
    response: str,
    score: float,
    model: str,
    stage: str,
    repaired: bool,
) -> str:
    """A record of the data file: inputs, outputs, response, score, model, stage, repaired, then the labels."""
    row: dict[str, Any] = {**concept.inputs, **outputs, "response": response, "score": score}
    row |= {"model": model, "stage": stage, "repaired": repaired}
    row |= {name: value for name, value in sorted(concept.labels.items()) if name not in row}
    return json_line(row, sort_keys=False)


def call_row(call: Call, concept: Concept, *, stage: str, model: str, reason: str) -> dict[str, Any]:
    """A line of the calls file."""
    answer = call.answer
    return {
        "concept": concept.number,
        "tier": concept.labels.get("tier", ""),
        "stage": stage,
        "model": model,
        "kind": call.kind.value,
        "attempt": call.attempt,
        "finish_reason": answer.finish_reason,
        "accepted": not reason,
        "reason": reason,
        "details": list(call.judgement.details)[:5],
        "score": call.judgement.score,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "thinking_tokens": int(answer.extra.get("thinking_tokens", "0")),
        "cost_usd": answer.cost_usd,
        "latency_seconds": answer.latency_seconds,
        "asked_at": answer.extra.get("asked_at", ""),
    }
