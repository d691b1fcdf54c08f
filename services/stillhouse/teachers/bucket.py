"""A token bucket: so much a second, and a bounded burst. Called by `pacing` and by the test server's quota.

It must not know what is counted. Not shared between threads: all calls come from one event loop.
"""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """It may be overdrawn, and then fills up before it gives again; so what is larger than the burst passes too."""

    def __init__(self, per_second: float, burst: float, now: Callable[[], float]) -> None:
        """Starts full. `now` gives monotonic seconds."""
        self._per_second = per_second
        self._burst = burst
        self._now = now
        self._level = burst
        self._filled_at = now()

    def wait_seconds(self, amount: float) -> float:
        """0 if `amount` may be taken now, else the seconds until it may; more than the burst never has to be there."""
        self._fill()
        missing = min(amount, self._burst) - self._level
        # After a sleep a rounding error may be missing, too little to wait for.
        return missing / self._per_second if missing > 1e-6 else 0.0

    def take(self, amount: float) -> None:
        """Takes `amount`, overdrawing if it must; gives it back where it is negative."""
        self._fill()
        self._level = min(self._burst, self._level - amount)

    def _fill(self) -> None:
        now = self._now()
        self._level = min(self._burst, self._level + (now - self._filled_at) * self._per_second)
        self._filled_at = now
