"""Requests and tokens a minute. Called by the traffic desk; it must not know what is asked."""

from __future__ import annotations

from collections.abc import Callable

from stillhouse.teachers.bucket import TokenBucket

BURST_SHARE = 0.1
"""Of a minute's rate that may be used at once."""


class Quota:
    """Both limits of a server; a call is let in by both or by none."""

    def __init__(
        self, requests_per_minute: float | None, tokens_per_minute: float | None, clock: Callable[[], float]
    ) -> None:
        """None: no such limit. `clock` gives monotonic seconds."""
        self._requests = _bucket(requests_per_minute, clock)
        self._tokens = _bucket(tokens_per_minute, clock)

    def admit(self, prompt_tokens: int) -> tuple[str, float] | None:
        """None, and the call is counted; or which limit it exceeds and the seconds until it would not."""
        waits = []
        for name, bucket, amount in (("requests", self._requests, 1), ("tokens", self._tokens, prompt_tokens)):
            if bucket is not None and (seconds := bucket.wait_seconds(amount)) > 0:
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


def _bucket(per_minute: float | None, clock: Callable[[], float]) -> TokenBucket | None:
    if per_minute is None:
        return None
    return TokenBucket(per_minute / 60, max(1.0, per_minute * BURST_SHARE), clock)
