"""Who `stillhouse evaluate` measures, a served student or a teacher, and how each is asked.

Called by that command. It knows neither rows nor gates.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from stillhouse.teachers.seeds import EVALUATION_SEEDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from stillhouse.evaluator.evaluation import EvaluationPlan, Measured
    from stillhouse.v1.common_pb2 import Progress
    from stillhouse.v1.teacher_pb2 import TeacherModel


@dataclass(frozen=True)
class Sampling:
    """How answers are asked for."""

    max_tokens: int
    """Of an answer, thinking included."""
    temperature: float
    seed: int


STUDENT_SAMPLING = Sampling(1024, 0.0, 42)
TEACHER_SAMPLING = Sampling(8192, 0.7, 42 + EVALUATION_SEEDS)
"""As `stillhouse generate` asks, but for the seed: a teacher is measured by fresh answers."""


@dataclass(frozen=True)
class ServedStudent:
    """A student server."""

    address: str
    token: str | None
    ca: Path | None
    wait_seconds: float
    store_uri: str | None
    """Where answers are kept; None: nowhere."""

    def measure(self, plan: EvaluationPlan) -> Measured:
        """Asks the student. The document names its address."""
        from dataclasses import replace

        from stillhouse.artifacts.answers import AnswerLog
        from stillhouse.artifacts.store import Store
        from stillhouse.errors import FailedPrecondition
        from stillhouse.evaluator.asking import Patience
        from stillhouse.evaluator.connection import connect
        from stillhouse.evaluator.evaluation import measure

        log = AnswerLog(Store.open(self.store_uri)) if self.store_uri else None
        with (
            _working() as (stopping, report),
            connect(
                self.address, token=self.token, ca=self.ca, wait_seconds=self.wait_seconds, stopping=stopping
            ) as student,
        ):
            if plan.subject.concurrency > max(student.slots, 1):
                raise FailedPrecondition(
                    f"--concurrency {plan.subject.concurrency} is more than the student at {self.address} answers at a "
                    f"time: {student.slots}; ask fewer rows at a time, or serve it with more --parallel"
                )
            patience = Patience(away_seconds=self.wait_seconds)
            measured = measure(plan, student, log=log, report=report, stopping=stopping, patience=patience)
            return replace(measured, document={**measured.document, "student": self.address})


@dataclass(frozen=True)
class AskedTeacher:
    """A teacher, whose answers are always kept: they were paid for."""

    model: TeacherModel
    max_cost_usd: float | None
    store_uri: str | None
    """None: the default store."""

    def measure(self, plan: EvaluationPlan) -> Measured:
        """Asks the teacher. The document names it and what its answers cost."""
        from stillhouse.artifacts.answers import AnswerLog
        from stillhouse.cli.store import open_store
        from stillhouse.evaluator.teacher import measure_teacher
        from stillhouse.teachers.budget import Budget
        from stillhouse.teachers.purse import Purse

        purse = Purse(AnswerLog(open_store(self.store_uri)), Budget(self.max_cost_usd), os.environ)
        with _working() as (stopping, report), _only_warnings():
            return measure_teacher(plan, self.model, purse, report=report, stopping=stopping)


@contextmanager
def _only_warnings() -> Iterator[None]:
    """A teacher's answers are events; here the line of progress tells them, and standard output is for figures."""
    import logging
    import sys

    import structlog

    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def _working() -> Iterator[tuple[Event, Callable[[Progress], None]]]:
    """What tells to stop, and where progress goes; a stop ends the command with its signal's code."""
    from stillhouse.cli.jobs import progress_line
    from stillhouse.cli.tables import remarks
    from stillhouse.errors import Cancelled
    from stillhouse.rpc.process import stop_on_signals

    with stop_on_signals() as stopping, progress_line(remarks()) as report:
        try:
            yield stopping.event, report
        except Cancelled as exc:
            if stopping.event.is_set():
                raise typer.Exit(stopping.exit_code) from exc
            raise
