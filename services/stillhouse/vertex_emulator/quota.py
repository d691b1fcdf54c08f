"""Requests and tokens a minute as token buckets. Called by the traffic desk; it must not know what is asked.

Not shared between threads: all calls come from one event loop.
"""

from __future__ import annotations

from collections.abc import Callable

BURST_SHARE = 0.1
"""Of a minute's rate that may be used at once."""


class Bucket:
    """A token bucket; it may be overdrawn, and then fills up before it gives again."""

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        """Starts full. `clock` gives seconds."""
        self._per_second = per_minute / 60
        self._burst = max(1.0, per_minute * BURST_SHARE)
        self._level = self._burst
        self._clock = clock
        self._at = clock()

    def seconds_until(self, amount: float) -> float:
        """0 if that much is there now, else when it will be; more than a whole bucket never has to be."""
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._at) * self._per_second)
        self._at = now
        lacking = min(amount, self._burst) - self._level
        # What floating point leaves over is no reason to turn anyone away.
        return 0.0 if lacking <= 1e-9 else lacking / self._per_second

    def take(self, amount: float) -> None:
        """Takes that much, overdrawing if it must."""
        self._level -= amount


class Quota:
    """Both limits of a server; a call is let in by both or by none."""

    def __init__(
        self, requests_per_minute: float | None, tokens_per_minute: float | None, clock: Callable[[], float]
    ) -> None:
        """None: no such limit."""
        self._requests = Bucket(requests_per_minute, clock) if requests_per_minute else None
        self._tokens = Bucket(tokens_per_minute, clock) if tokens_per_minute else None

    def admit(self, prompt_tokens: int) -> tuple[str, float] | None:
        """None, and the call is counted; or which limit it exceeds and the seconds until it would not."""
        waits = []
        for name, bucket, amount in (
            ("requests", self._requests, 1),
            ("tokens", self._tokens, prompt_tokens),
        ):
            if bucket is not None and (seconds := bucket.seconds_until(amount)) > 0:
                waits.append((name, seconds))
        if waits:
            return max(waits, key=lambda wait: wait[1])
        if self._requests is not None:
            self._requests.take(1)
        self.spend(prompt_tokens)
        return None

    def spend(self, tokens: int) -> None:
        """Counts tokens that are known only afterwards: an answer's."""
        if self._tokens is not None:
            self._tokens.take(tokens)
