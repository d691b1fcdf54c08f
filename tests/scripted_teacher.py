"""A teacher for tests: answers from a script, keeps what it was asked; and a clock that nobody waits for."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from stillhouse.artifacts.answers import LoggedAnswer
from stillhouse.roles.role import Message
from stillhouse.teachers.pacing import Pace, Pacer
from stillhouse.teachers.paid import PaidTeacher
from stillhouse.teachers.prices import Price
from stillhouse.teachers.teacher import Answer, FinishReason, Question

ResultT = TypeVar("ResultT")
_STEPS_A_MOMENT = 25
"""Turns of the loop after which nothing happens any more before time passes."""

Script = Callable[[Question], Awaitable[Answer]]
"""What the teacher does; raises what the teacher is to raise."""


def question(text: str = "What is it?", **changes: Any) -> Question:
    return Question(messages=(Message("user", text),), **{"max_output_tokens": 100, **changes})


def answer(text: str = "It is.", *, prompt_tokens: int = 10, completion_tokens: int = 20, **changes: Any) -> Answer:
    return Answer(text, FinishReason.STOP, prompt_tokens, completion_tokens, **changes)


class VirtualClock:
    """Time that passes at once when everybody sleeps."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._now + seconds, self._count, wake))
        await wake

    def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Runs `work` on a loop of its own; time goes on whenever it waits for nothing but time."""
        return asyncio.run(self._drive(work))

    async def _drive(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        task = asyncio.ensure_future(work)
        idle = 0
        while not task.done():
            for _ in range(_STEPS_A_MOMENT):
                await asyncio.sleep(0)
            if self._sleepers and not task.done():
                idle = 0
                self._now, _, wake = heapq.heappop(self._sleepers)
                if not wake.done():
                    wake.set_result(None)
            else:
                # Threads (the answer log's) are waited for in real time.
                idle += 1
                assert idle < 20_000, "everybody waits, and for nothing that will come"
                await asyncio.sleep(0.001)
        return await task


@dataclass
class ScriptedTeacher:
    script: Script
    identity: str = "scripted:model"
    slots: int | None = None
    asked: list[Question] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    closed: bool = False

    async def ask(self, question: Question, *, deadline_seconds: float) -> Answer:
        self.asked.append(question)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self.script(question)
        finally:
            self.in_flight -= 1

    async def close(self) -> None:
        self.closed = True


def in_turn(*outcomes: Answer | Exception) -> Script:
    """Answers with each outcome in turn, then with the last for ever."""
    left = list(outcomes)

    async def script(_: Question) -> Answer:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return script


def after(clock: VirtualClock, seconds: float, outcome: Answer | None = None) -> Script:
    """Answers after a latency."""

    async def script(_: Question) -> Answer:
        await clock.sleep(seconds)
        return outcome or answer()

    return script


PRICE = Price(1.0, 10.0)
"""The answers of `answer()` cost $0.00021; a question's 100 tokens of output $0.001 at most, and its prompt little."""


def paid(teacher: ScriptedTeacher, clock: VirtualClock, **options: Any) -> PaidTeacher:
    options = {"price": PRICE, "rng": random.Random(0), **options}
    if "pacer" not in options:
        options["pacer"] = Pacer(Pace(concurrency=8), clock)
    return PaidTeacher(teacher, clock=clock, **options)


async def ask_all(asked: PaidTeacher, *questions: Question) -> list[LoggedAnswer]:
    try:
        return list(await asyncio.gather(*(asked.ask(each) for each in questions)))
    finally:
        await asked.close()
