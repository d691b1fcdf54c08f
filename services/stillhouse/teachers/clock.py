"""Time as the layers above a teacher see it, so that tests need no waiting. Passed to `pacing` and `paid`."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds, and a way to let them pass."""

    def now(self) -> float:
        """Seconds since some moment in the past; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds`, at once where they are not positive."""
        ...


class SystemClock:
    """This machine's clock."""

    def now(self) -> float:
        """See Clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await asyncio.sleep(max(0.0, seconds))
