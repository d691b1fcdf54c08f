"""The way of a call through the server: fails it, turns it away, keeps it waiting, answers it, bills it.

Both doors call it on one event loop. What happens here depends on counters and time, and never on what is asked; what
is answered never depends on what happens here.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stillhouse.errors import ResourceExhausted, Unavailable
from stillhouse.vertex_emulator.answers import Behaviour, EmulatedAnswer, ScriptedModel
from stillhouse.vertex_emulator.bill import Bill
from stillhouse.vertex_emulator.prompt import Prompt, seeded
from stillhouse.vertex_emulator.quota import Quota

_CHUNK_CHARACTERS = 160
_MOST_CHUNKS = 32


@dataclass(frozen=True)
class Conditions:
    """What a call meets before it is answered."""

    latency_seconds: float = 0.0
    """Median."""
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    unavailable: float = 0.0
    """Share of calls that fail with UNAVAILABLE."""
    stall: float = 0.0
    """Share of calls that are never answered."""


class Desk:
    """Answers prompts under conditions, and keeps the bill."""

    def __init__(self, model: ScriptedModel, conditions: Conditions, bill: Bill, *, seed: int = 0) -> None:
        """`seed` is for the draws of failing calls."""
        self._model = model
        self._conditions = conditions
        self._quota = Quota(conditions.requests_per_minute, conditions.tokens_per_minute, time.monotonic)
        self._random = seeded(seed, "traffic")
        self._stats_due: asyncio.TimerHandle | None = None
        self.bill = bill

    async def answer(self, prompt: Prompt, behaviour: Behaviour | None = None) -> EmulatedAnswer:
        """The answer, when its time has come; `behaviour` goes before the server's own.

        Raises Unavailable, or ResourceExhausted with the seconds to wait. A call that is cancelled before its answer is
        due is not billed.
        """
        with self._in_flight():
            await self._admit(prompt)
            model, due = self._model_and_due(prompt, behaviour)
            # Written before the wait: the author's milliseconds are part of the latency, not on top of it.
            answer = model.answer(prompt)
            await _until(due)
            self._charge(prompt, answer)
            return answer

    async def stream(
        self, prompt: Prompt, behaviour: Behaviour | None = None
    ) -> AsyncIterator[tuple[str, EmulatedAnswer | None]]:
        """The answer in pieces over the same time; the last piece comes with the whole. Raises as `answer` does.

        Billed with the last piece.
        """
        with self._in_flight():
            await self._admit(prompt)
            begun = time.monotonic()
            model, due = self._model_and_due(prompt, behaviour)
            answer = model.answer(prompt)
            pieces = _pieces(answer.text)
            for number, piece in enumerate(pieces[:-1], start=1):
                await _until(begun + (due - begun) * number / len(pieces))
                yield piece, None
            await _until(due)
            self._charge(prompt, answer)
            yield pieces[-1], answer

    async def _admit(self, prompt: Prompt) -> None:
        traffic = self.bill.traffic
        fails, stalls = self._random.random(), self._random.random()
        if fails < self._conditions.unavailable:
            traffic.unavailable += 1
            raise Unavailable("The service is currently unavailable.")
        refused = self._quota.admit(prompt.tokens)
        if refused is not None:
            traffic.throttled += 1
            raise ResourceExhausted(
                f"Quota exceeded for {refused[0]} per minute per base_model with base model: {prompt.model}. "
                "Please retry after the delay given.",
                retry_after_seconds=refused[1],
            )
        if stalls < self._conditions.stall:
            traffic.stalled += 1
            await asyncio.Event().wait()

    def _model_and_due(self, prompt: Prompt, behaviour: Behaviour | None) -> tuple[ScriptedModel, float]:
        model, latency = self._model, self._conditions.latency_seconds
        if behaviour is not None:
            model, latency = model.behaving(behaviour), behaviour.latency_seconds
        return model, time.monotonic() + model.latency_seconds(prompt, latency)

    def _charge(self, prompt: Prompt, answer: EmulatedAnswer) -> None:
        self._quota.spend(answer.output_tokens)
        self.bill.charge(prompt, answer)
        wait = self.bill.stats_wait()
        if wait is not None and self._stats_due is None:
            self._stats_due = asyncio.get_running_loop().call_later(wait, self._write_stats)

    def _write_stats(self) -> None:
        self._stats_due = None
        self.bill.write_stats()

    @contextmanager
    def _in_flight(self) -> Iterator[None]:
        traffic = self.bill.traffic
        traffic.requests += 1
        traffic.in_flight += 1
        traffic.most_in_flight = max(traffic.most_in_flight, traffic.in_flight)
        try:
            yield
        finally:
            traffic.in_flight -= 1

    def close(self) -> None:
        """Writes and closes what the bill keeps."""
        if self._stats_due is not None:
            self._stats_due.cancel()
        self.bill.close()


async def _until(due: float) -> None:
    # A sleep of 0 too: it lets other calls in between two answers.
    await asyncio.sleep(max(0.0, due - time.monotonic()))


def _pieces(text: str) -> list[str]:
    """A text in at most 32 pieces of at least 160 characters, but for the last; one empty piece for no text."""
    size = max(_CHUNK_CHARACTERS, math.ceil(len(text) / _MOST_CHUNKS))
    return [text[start : start + size] for start in range(0, len(text), size)] or [""]
