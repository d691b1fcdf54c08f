"""Puts a stage's questions to its teacher until told to finish; a question that can't be answered is an answer, too.

Called by the stage. It knows neither concepts nor records.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from stillhouse.artifacts.answers import LoggedAnswer
from stillhouse.errors import Cancelled, DeadlineExceeded, InvalidArgument
from stillhouse.teachers.figures import Figures
from stillhouse.teachers.paid import PaidTeacher
from stillhouse.teachers.purse import Purse, open_paid_teacher
from stillhouse.teachers.teacher import Question
from stillhouse.v1.teacher_pb2 import TeacherModel

DEADLINE, REFUSED = "deadline", "refused"
"""Finish reasons of questions that got no answer, however often they were asked."""

DEADLINES_IN_A_ROW = 3
"""Questions without an answer in time, and none answered between them, after which the teacher counts as away."""


class StageAsker:
    """The teacher of one stage."""

    def __init__(self, teacher: PaidTeacher, purse: Purse, model: str) -> None:
        """`model` is what records are labelled with."""
        self._teacher = teacher
        self._purse = purse
        self._is_finishing = False
        self._has_answered = False
        self._deadlines = 0
        self._calls_at_deadline = 0
        self._undecided = 0
        self._verdict = asyncio.Event()
        self.model = model

    @property
    def width(self) -> int:
        """Concepts worth asking about at the same time: some read, or pause, while others' calls are in flight."""
        limit = max(self._teacher.figures.concurrency_limit, 1)
        return limit + limit // 2 + 2

    @property
    def figures(self) -> Figures:
        """Calls, tokens and cost so far."""
        return self._teacher.figures

    async def ask(self, question: Question) -> LoggedAnswer:
        """The answer, kept by the time it is returned.

        A question that runs out of time, or is refused, while the teacher answers others has an empty answer with that
        as its finish reason; the first of them is kept, so that the outcome stays what it is. Where none is answered it
        is not the question that is wrong, and the error is raised. Raises Cancelled once it is to finish.
        """
        if self._is_finishing:
            raise Cancelled("no further call is made; every answer so far is kept")
        self._undecided += 1
        try:
            answer = await self._teacher.ask(question)
            self._has_answered = True
            return answer
        except DeadlineExceeded as error:
            if self._is_away():
                raise
            return await self._keep(question, _no_answer(DEADLINE, error.message))
        except InvalidArgument as error:
            refused = error
        finally:
            self._undecided -= 1
            if self._has_answered or not self._undecided:
                self._verdict.set()
        # The first questions are under way together, and a refusal comes faster than an answer.
        await self._verdict.wait()
        if not self._has_answered:
            raise refused
        return _no_answer(REFUSED, refused.message)

    async def finish(self) -> None:
        """Starts no further call, and returns when those under way are kept."""
        self._is_finishing = True
        await self._teacher.drain()

    def _is_away(self) -> bool:
        """No call at all, or none since the last few questions that ran out of time, was answered."""
        calls = self._teacher.figures.calls
        self._deadlines = self._deadlines + 1 if calls == self._calls_at_deadline else 1
        self._calls_at_deadline = calls
        return not calls or self._deadlines >= DEADLINES_IN_A_ROW

    async def _keep(self, question: Question, answer: LoggedAnswer) -> LoggedAnswer:
        return await asyncio.to_thread(self._purse.log.put, self._teacher.query(question), answer)


@asynccontextmanager
async def open_asker(
    model: TeacherModel, purse: Purse, *, on_open: Callable[[StageAsker], None] = lambda _: None
) -> AsyncIterator[StageAsker]:
    """The asker of that model, closed afterwards. Raises what opening the provider raises."""
    async with open_paid_teacher(model, purse) as teacher:
        asker = StageAsker(teacher, purse, label_of(model) or teacher.identity)
        on_open(asker)
        yield asker


def label_of(model: TeacherModel) -> str:
    """What records and calls of a model are labelled with: an emulated one is called so. Empty where it has no name."""
    return f"emulated {model.model}" if model.provider == "emulator" else model.model


def _no_answer(reason: str, message: str) -> LoggedAnswer:
    return LoggedAnswer(
        text="",
        finish_reason=reason,
        prompt_tokens=0,
        completion_tokens=0,
        latency_seconds=0.0,
        extra={"detail": message},
    )
