"""A generation without a provider: a scripted asker, concepts of the quiz role, and the ledger's lines as values."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from cli_leaves import Outcome, run_leaf
from quiz_role import QuizRole
from stillhouse.artifacts.answers import LoggedAnswer
from stillhouse.dataset.balance import BalanceLimit
from stillhouse.dataset.concepts import concept_line
from stillhouse.dataset.importing import Candidate, read_candidates
from stillhouse.roles.role import Role, load_role
from stillhouse.teacher_generator.data_files import DataFiles
from stillhouse.teacher_generator.generation import Generation, Sources
from stillhouse.teacher_generator.ledger import Ledger, LedgerFiles, StageTally
from stillhouse.teacher_generator.options import GenerationOptions, StageOptions
from stillhouse.teachers.dialogue import Concept, Manner, Prompt
from stillhouse.teachers.teacher import FinishReason, Question
from stillhouse.v1.dataset_builder_pb2 import DatasetImport
from stillhouse.v1.teacher_pb2 import TeacherModel
from vertex_emulator_process import EmulatorProcess

GOOD = "ANSWER: a full answer / COMMENT: good"
POOR = "ANSWER: short / COMMENT: poor"
SHOUTED = "ANSWER: A FULL ANSWER / COMMENT: loud"

Script = Callable[[Question], Awaitable[LoggedAnswer] | LoggedAnswer]


def logged(text: str = GOOD, finish_reason: str = FinishReason.STOP, **fields: Any) -> LoggedAnswer:
    extra = {"asked_at": "2026-01-01T00:00:00+00:00", **fields.pop("extra", {})}
    numbers = {"prompt_tokens": 10, "completion_tokens": 20, "latency_seconds": 1.0, "cost_usd": 0.001, **fields}
    return LoggedAnswer(text=text, finish_reason=str(finish_reason), extra=extra, **numbers)


def manner(**changes: Any) -> Manner:
    usual = {"prompt": Prompt.FENCED, "max_output_tokens": 100, "temperature": 0.7, "thinking_budget": None}
    return Manner(**{**usual, "attempts": 1, **changes})


def asked_about(question: Question) -> str:
    """The quiz question that a question of any kind is about."""
    return question.messages[-1].content.split(" Give only ")[0]


@dataclass
class ScriptedAsker:
    """Answers by script at once, or when the script says so; keeps what it was asked."""

    script: Script
    model: str = "m"
    width: int = 4
    asked: list[Question] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    kept: int = 0
    finished: bool = False

    async def ask(self, question: Question) -> LoggedAnswer:
        self.asked.append(question)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            outcome = self.script(question)
            answer = outcome if isinstance(outcome, LoggedAnswer) else await outcome
            self.kept += 1
            return answer
        finally:
            self.in_flight -= 1

    async def finish(self) -> None:
        self.finished = True
        while self.in_flight:
            await asyncio.sleep(0.001)

    @property
    def questions(self) -> list[str]:
        return [asked_about(question) for question in self.asked]


def always(text: str = GOOD) -> ScriptedAsker:
    return ScriptedAsker(lambda _: logged(text))


def good_for(*numbers: int) -> ScriptedAsker:
    """Good answers to those concepts, poor ones to all others."""
    wanted = {f"q{number}" for number in numbers}
    return ScriptedAsker(lambda question: logged(GOOD if asked_about(question) in wanted else POOR))


def concepts(count: int, **labels: str) -> list[Concept]:
    return [Concept(number, {"question": f"q{number}"}, labels) for number in range(1, count + 1)]


def stage(name: str = "s", *, records: int = 0, until: int = 0, min_score: float = 0.8, **how: Any) -> StageOptions:
    return StageOptions(name, min_score, records, until, TeacherModel(model=name), manner(**how))


def import_stage(name: str, *, records: int = 0, until: int = 0) -> StageOptions:
    return StageOptions(name, 0.8, records, until, imported=DatasetImport())


@dataclass
class Run:
    """One generation with its lines."""

    stages: Sequence[StageOptions]
    askers: Mapping[str, ScriptedAsker]
    about: Sequence[Concept] = ()
    imported: Iterable[Mapping[str, Any]] = ()
    balance: tuple[BalanceLimit, ...] = ()
    guards: tuple[str, ...] = ()
    second_answers: bool = False
    held_out: frozenset[str] = frozenset()
    present: Counter[int] = field(default_factory=Counter)
    stopping: Event = field(default_factory=Event)
    on_progress: Callable[[StageTally, StageOptions], None] = lambda *_: None
    role: Role = field(default_factory=QuizRole)

    def __post_init__(self) -> None:
        self._files = (io.StringIO(), io.StringIO(), io.StringIO())
        self.ledger = Ledger(self.role, LedgerFiles(*self._files), self.present.total(), self.present)
        options = GenerationOptions(tuple(self.stages), self.guards, None, self.balance, self.second_answers, seed=42)
        sources = Sources(lambda: iter(self.about), self._imported, self._open, self.held_out)
        self.generation = Generation(
            self.role, options, sources, self.ledger, stopping=self.stopping, on_progress=self.on_progress
        )

    def run(self) -> list[StageTally]:
        return asyncio.run(self.generation.run())

    @asynccontextmanager
    async def _open(self, opened: StageOptions) -> AsyncIterator[ScriptedAsker]:
        yield self.askers[opened.name]

    def _imported(self, _: StageOptions) -> Iterator[Candidate]:
        lines = [json.dumps(row) for row in self.imported]
        return read_candidates(lines, source="import.jsonl", shape=QuizRole())

    @property
    def text(self) -> str:
        return self._files[0].getvalue()

    @property
    def records(self) -> list[Any]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def asked(self) -> list[str]:
        """Quiz questions in the order of their records."""
        return [row["question"] for row in self.records]

    @property
    def calls(self) -> list[Any]:
        return [json.loads(line) for line in self._files[1].getvalue().splitlines()]

    @property
    def dead_letters(self) -> list[Any]:
        return [json.loads(line) for line in self._files[2].getvalue().splitlines()]


def write_letters(path: Path, *rows: Mapping[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_concepts(path: Path, count: int, *, seed: int = 42) -> Path:
    """Synthesized concepts of the product owner."""
    examples = load_role("product_owner").examples(count=count, seed=seed, planted=0.3)
    path.write_text("".join(concept_line(example) for example in examples), encoding="utf-8")
    return path


def logged_answers(store: Path) -> list[Any]:
    """All answers of a store's log."""
    return [json.loads(path.read_bytes())["answer"] for path in store.glob("answers/*/*.json")]


@dataclass
class Desk:
    """A user's folder: concepts, a store, and the data file."""

    folder: Path
    emulator: EmulatorProcess
    capsys: pytest.CaptureFixture[str]

    def __post_init__(self) -> None:
        self.concepts = write_concepts(self.folder / "concepts.jsonl", 40)
        self.data = self.folder / "data.jsonl"
        self.files = DataFiles(self.data)
        self.store = self.folder / "store"

    def generate(self, *arguments: object, output: Path | None = None, store: Path | None = None) -> Outcome:
        fixed = ["--provider", "vertex", "--endpoint", self.emulator.url, "--concurrency", "8"]
        places = ["--concepts", self.concepts, "--output", output or self.data, "--store", store or self.store]
        return run_leaf(self.capsys, "generate", *fixed, *places, *arguments)

    def retry(self, *arguments: object) -> Outcome:
        return run_leaf(self.capsys, "dataset", "retry-failed", self.data, "--store", self.store, *arguments)

    @property
    def billed(self) -> int:
        return len(self.emulator.billed())
