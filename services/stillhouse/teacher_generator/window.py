"""Dialogues under way and those that wait for earlier ones, in the order of their concepts.

Used by the generation. An answer that is slow in front keeps nobody behind it from asking; it must not know what a
dialogue asks, nor what becomes of its outcome.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from stillhouse.teachers.dialogue import Outcome


class Window:
    """Outcomes come out in the order in which their dialogues went in."""

    def __init__(self) -> None:
        """Empty."""
        self._tasks: deque[asyncio.Task[Outcome]] = deque()
        self._ended = asyncio.Event()
        self.running = 0
        """Dialogues that ask."""
        self.ready = 0
        """Accepted answers that wait for earlier dialogues."""
        self.has_failed = False
        """One of the dialogues ended with an error, which its `take` will raise."""

    def __len__(self) -> int:
        """Dialogues that were not taken yet."""
        return len(self._tasks)

    def begin(self, dialogue: Coroutine[Any, Any, Outcome]) -> None:
        """Starts a dialogue behind all others."""
        task = asyncio.create_task(dialogue)
        task.add_done_callback(self._on_end)
        self._tasks.append(task)
        self.running += 1

    def take(self) -> Outcome | None:
        """The first dialogue's outcome, once it has ended. Raises the error that it ended with."""
        if not self._tasks or not self._tasks[0].done():
            return None
        outcome = self._tasks[0].result()
        self._tasks.popleft()
        self.ready -= outcome.accepted is not None
        return outcome

    async def wait(self, seconds: float) -> None:
        """Returns when any dialogue has ended, and after `seconds` at the latest."""
        self._ended.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()

    async def wind_up(self, finish: Callable[[], Awaitable[None]]) -> None:
        """Lets the calls under way end, by `finish`, because they are paid for; and the dialogues with them."""
        if not self._tasks:
            return
        try:
            await finish()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_end(self, task: asyncio.Task[Outcome]) -> None:
        self.running -= 1
        if task.cancelled() or task.exception() is not None:
            self.has_failed = True
        else:
            self.ready += task.result().accepted is not None
        self._ended.set()
