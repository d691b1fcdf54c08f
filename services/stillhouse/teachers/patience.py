"""How long a teacher in trouble is waited for, and when it is asked again. Called by `paid`; knows no teacher."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from stillhouse.errors import DeadlineExceeded, ResourceExhausted, TemporaryError, Unavailable
from stillhouse.teachers.clock import Clock

_KEPT = "answers so far are kept, the same command goes on"


@dataclass(frozen=True)
class Patience:
    """Bounds of waiting. A pause is drawn evenly below a bound that doubles, so that calls do not march in step."""

    away_seconds: float = 300.0
    """Without a success by any call for that long, the server is gone (or its quota used up for good)."""
    deadlines: int = 3
    """Calls of one question that may run out of time."""
    failures: int = 30
    """Times that one question may find the server unavailable while other calls succeed."""
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 30.0


class ServerHealth:
    """When the server last answered anybody."""

    def __init__(self, clock: Clock) -> None:
        """It has not answered yet."""
        self.clock = clock
        self.last_success_at = float("-inf")

    def succeeded(self) -> None:
        """A call was answered now."""
        self.last_success_at = self.clock.now()


class Trouble:
    """What one question has met so far, and whether it is worth another call."""

    def __init__(self, patience: Patience, health: ServerHealth, rng: random.Random, name: str) -> None:
        """`name` is the teacher's, for messages."""
        self._patience = patience
        self._health = health
        self._random = rng
        self._name = name
        self._first_at = math.inf
        self._in_a_row = 0
        self._deadlines = 0
        self._unavailable = 0

    def pause_after(self, error: TemporaryError) -> float:
        """Seconds until the next call. Raises the error that ends the question where patience is used up."""
        now = self._health.clock.now()
        self._first_at = min(self._first_at, now)
        self._in_a_row += 1
        if isinstance(error, DeadlineExceeded):
            self._deadlines += 1
            if self._deadlines >= self._patience.deadlines:
                raise error
            return self._jittered(error.retry_after_seconds)
        self._check_away(now, error)
        if not isinstance(error, ResourceExhausted):
            self._unavailable += 1
            if self._unavailable >= self._patience.failures:
                raise Unavailable(
                    f"{self._name} failed {self._unavailable} times on one question: {error.message}; {_KEPT}"
                ) from error
        return self._jittered(error.retry_after_seconds)

    def _check_away(self, now: float, error: TemporaryError) -> None:
        away = now - max(self._health.last_success_at, self._first_at)
        told = error.retry_after_seconds or 0.0
        if max(away, told) < self._patience.away_seconds:
            return
        asks = f"wants no call for {told:.0f} s" if told >= self._patience.away_seconds else ""
        if isinstance(error, ResourceExhausted):
            raise ResourceExhausted(
                f"{self._name} {asks or f'has refused every call for {away:.0f} s'} for want of quota: {error.message};"
                f" ask for a higher quota or come back later: {_KEPT}",
                retry_after_seconds=error.retry_after_seconds,
            ) from error
        raise Unavailable(
            f"{self._name} {asks or f'has not answered any call for {away:.0f} s'}: {error.message}; see that it is "
            f"running and that the endpoint is right: {_KEPT}",
            retry_after_seconds=error.retry_after_seconds,
        ) from error

    def _jittered(self, retry_after_seconds: float | None) -> float:
        bound = self._patience.first_pause_seconds * 2.0 ** min(self._in_a_row - 1, 20)
        bound = min(bound, self._patience.longest_pause_seconds)
        if retry_after_seconds is None:
            return self._random.uniform(0.0, bound)
        # Pacing holds everyone back until then; a little more keeps the refused from coming back all at once.
        return retry_after_seconds + self._random.uniform(0.0, min(bound, 0.2 * retry_after_seconds))
