"""The generation: concepts in, records out, stage by stage, settled in the order of the concepts.

Called by the stage and the command line. What is accepted follows from the answers alone; how many are asked for at a
time does not matter to it. It must not know providers, money or stores: an asker is handed in.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from threading import Event
from typing import Protocol

from stillhouse.artifacts.answers import LoggedAnswer
from stillhouse.dataset.balance import Balance
from stillhouse.dataset.digest_set import DigestSet
from stillhouse.dataset.importing import Candidate
from stillhouse.errors import Cancelled, InvalidArgument
from stillhouse.roles.role import Example, ParsedAnswer, Role
from stillhouse.teacher_generator.ledger import Ledger, StageTally, record_line
from stillhouse.teacher_generator.options import GenerationOptions, StageOptions
from stillhouse.teacher_generator.window import Window
from stillhouse.teachers.dialogue import Concept, Dialogue, Outcome, inputs_digest
from stillhouse.teachers.judging import BALANCE, Judge
from stillhouse.teachers.teacher import Question

REACHED, EXHAUSTED = "target reached", "concepts exhausted"
STOPPING = "stopping"
"""A stop is asked for; calls under way are awaited."""
_POLL_SECONDS = 0.2
_AHEAD = 8
"""Concepts that may wait behind a slow one, for each that is asked about."""
_ROUND_SEEDS = 1000
"""Seeds of a second answer lie that far behind those of the first."""


class Asker(Protocol):
    """A teacher whose answers are kept and paid for."""

    model: str
    """As records are labelled."""

    @property
    def width(self) -> int:
        """Concepts worth asking about at the same time."""
        ...

    async def ask(self, question: Question) -> LoggedAnswer:
        """The answer, kept by the time it is returned."""
        ...

    async def finish(self) -> None:
        """Starts no further call, and returns when those under way are kept."""
        ...


@dataclass(frozen=True)
class Sources:
    """Where a generation gets what it works on. Each may be opened more than once."""

    concepts: Callable[[], Iterator[Concept]]
    imported: Callable[[StageOptions], Iterable[Candidate]]
    open_asker: Callable[[StageOptions], AbstractAsyncContextManager[Asker]]
    held_out: Container[str] = frozenset()
    """Group keys that are not asked about."""


class Generation:
    """One generation over all its stages."""

    def __init__(
        self,
        role: Role,
        options: GenerationOptions,
        sources: Sources,
        ledger: Ledger,
        *,
        stopping: Event | None = None,
        on_progress: Callable[[StageTally, StageOptions], None] = lambda *_: None,
    ) -> None:
        """`on_progress` hears of every settled concept, several times a second of a wait, and of each stage's end.

        Where a stop is asked for, it hears so before calls under way are awaited.
        """
        self._role = role
        self._options = options
        self._sources = sources
        self._ledger = ledger
        self._stopping = stopping or Event()
        self._on_progress = on_progress
        self._balance = Balance(options.balance)
        self._skipped: dict[str, set[int]] = {}
        self._refused: Counter[str] = Counter()

    @property
    def skipped(self) -> dict[str, int]:
        """Concepts that were not asked about, and imported rows that were not taken, by reason."""
        return {**{reason: len(numbers) for reason, numbers in self._skipped.items()}, **self._refused}

    async def run(self) -> list[StageTally]:
        """All stages in sequence.

        Raises Cancelled where it is asked to stop (what is under way is kept first), and what asker and judge raise.
        """
        return [await self._stage(stage) for stage in self._options.stages]

    async def _stage(self, stage: StageOptions) -> StageTally:
        tally = StageTally(stage.name)
        if stage.has_reached(0, self._ledger.records):
            tally.ended = REACHED
        elif stage.imported is not None:
            tally.ended = REACHED if self._import(stage, tally) else EXHAUSTED
        else:
            async with self._sources.open_asker(stage) as asker:
                tally.ended = REACHED if await self._ask(stage, asker, tally) else EXHAUSTED
        self._on_progress(tally, stage)
        return tally

    async def _ask(self, stage: StageOptions, asker: Asker, tally: StageTally) -> bool:
        """True once the target is reached, False when the concepts are used up."""
        rounds = 2 if self._options.second_answers else 1
        for number in range(rounds):
            if await self._round(stage, asker, tally, number):
                return True
        return False

    async def _round(self, stage: StageOptions, asker: Asker, tally: StageTally, number: int) -> bool:
        if stage.manner is None:
            raise ValueError(f"stage {stage.name} asks no model")
        judge = Judge(self._role, self._options.guards, stage.min_score, self._options.metric)
        seed = self._options.seed + _ROUND_SEEDS * number
        dialogue = Dialogue(self._role, judge, stage.manner, asker.ask, seed=seed)
        concepts = self._open_concepts(again=number > 0)
        window = Window()
        try:
            while True:
                self._raise_if_stopping(tally, stage)
                while self._has_room(window, stage, asker.width, tally) and (concept := next(concepts, None)):
                    window.begin(dialogue.pursue(concept))
                if not window:
                    return False
                outcome = window.take()
                if outcome is None:
                    self._on_progress(tally, stage)
                    await window.wait(_POLL_SECONDS)
                    continue
                self._settle(outcome, stage, asker.model, tally)
                if stage.has_reached(tally.accepted, self._ledger.records):
                    return True
        finally:
            await window.wind_up(asker.finish)

    def _has_room(self, window: Window, stage: StageOptions, width: int, tally: StageTally) -> bool:
        """Near the target no more are under way than it takes: surplus answers are kept, but they cost."""
        if window.has_failed or window.running >= width or len(window) >= _AHEAD * width:
            return False
        remaining = stage.remaining(tally.accepted, self._ledger.records)
        if remaining is None or not window:
            return True
        rate = (tally.accepted + 1) / (tally.attempted + 1)
        return window.running < math.ceil((remaining - window.ready) / rate)

    def _raise_if_stopping(self, tally: StageTally, stage: StageOptions) -> None:
        if self._stopping.is_set():
            tally.ended = STOPPING
            self._on_progress(tally, stage)
            raise Cancelled("stopped on request; every answer so far is kept, the same command goes on")

    def _settle(self, outcome: Outcome, stage: StageOptions, model: str, tally: StageTally) -> None:
        tally.attempted += 1
        reason = outcome.reason
        if outcome.accepted is not None:
            labels = {**outcome.concept.labels, **self._role.labels(outcome.accepted.outputs)}
            reason = "" if self._balance.take(labels) is None else BALANCE
        if reason or outcome.accepted is None:
            self._ledger.refuse(outcome, stage=stage.name, model=model, reason=reason)
        else:
            tally.accepted += 1
            self._ledger.accept(outcome, stage=stage.name, model=model)
        self._on_progress(tally, stage)

    def _open_concepts(self, *, again: bool) -> Iterator[Concept]:
        """Those to ask about: not answered yet (unless `again`), not held out, not repeated, not of a full label."""
        seen = DigestSet()
        for concept in self._sources.concepts():
            completed = self._completed(concept)
            digest = inputs_digest(completed.inputs)
            if digest in seen:
                self._skip("repeated", concept)
            elif digest in self._ledger.answered and not again:
                pass
            elif self._role.group_key(completed.inputs) in self._sources.held_out:
                self._skip("held out", concept)
            elif self._balance.full_limit(completed.labels):
                self._skip(BALANCE, concept)
            else:
                yield completed
            seen.add(digest)

    def _completed(self, concept: Concept) -> Concept:
        try:
            example = self._role.complete(Example(concept.inputs, concept.labels), seed=self._options.seed)
        except InvalidArgument as exc:
            raise InvalidArgument(f"concept {concept.number}: {exc.message}", field=exc.field) from exc
        return Concept(concept.number, example.inputs, example.labels, concept.attempts_before)

    def _skip(self, reason: str, concept: Concept) -> None:
        self._skipped.setdefault(reason, set()).add(concept.number)

    def _import(self, stage: StageOptions, tally: StageTally) -> bool:
        judge = Judge(self._role, self._options.guards, stage.min_score, self._options.metric)
        for candidate in self._sources.imported(stage):
            self._raise_if_stopping(tally, stage)
            tally.attempted += 1
            if self._take_imported(candidate, judge, stage):
                tally.accepted += 1
            self._on_progress(tally, stage)
            if stage.has_reached(tally.accepted, self._ledger.records):
                return True
        return False

    def _take_imported(self, candidate: Candidate, judge: Judge, stage: StageOptions) -> bool:
        if self._role.group_key(candidate.inputs) in self._sources.held_out:
            self._refused["import: held out"] += 1
            return False
        outputs = candidate.outputs
        if not all(name in outputs for name in self._role.output_fields) and candidate.response is not None:
            outputs = self._role.parse(candidate.response).outputs
        judgement = judge.judge(candidate.inputs, ParsedAnswer(outputs))
        if judgement.reason:
            self._refused[f"import: {judgement.reason}"] += 1
            return False
        if self._balance.take({**candidate.labels, **self._role.labels(judgement.outputs)}):
            self._refused[f"import: {BALANCE}"] += 1
            return False
        labels = {name: value for name, value in candidate.labels.items() if name not in ("model", "stage", "repaired")}
        line = record_line(
            Concept(candidate.row.line, candidate.inputs, labels),
            outputs=judgement.outputs,
            response=candidate.response or self._role.answer_text(judgement.outputs),
            score=judgement.score or 0.0,
            model=candidate.labels.get("model", "imported"),
            stage=stage.name,
            repaired=False,
        )
        self._ledger.take(line, candidate.inputs, judgement.score or 0.0)
        return True
