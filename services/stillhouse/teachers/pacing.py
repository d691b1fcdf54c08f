"""When the next call may start: adaptive concurrency under caps for calls, requests a minute and tokens a minute.

Called by `paid`, on one event loop. It must not know what is asked, of whom, or what it costs.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from stillhouse.errors import InvalidArgument
from stillhouse.teachers.bucket import TokenBucket
from stillhouse.teachers.clock import Clock, SystemClock
from stillhouse.v1.teacher_pb2 import TeacherModel

LARGEST_CONCURRENCY = 64
"""Calls in flight where nobody names a cap."""
FIRST_CONCURRENCY = 16
"""Where nobody names a cap, pacing starts here and finds its way up."""
_BURST_SECONDS = 0.25
"""Calls that a late wake-up delayed may catch up that much."""


@dataclass(frozen=True)
class Pace:
    """Caps; None means that there is none (for concurrency: 64)."""

    concurrency: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def __post_init__(self) -> None:
        """Raises InvalidArgument for a cap below one."""
        for name in ("concurrency", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidArgument(f"{name} is {value}; give at least 1, or leave it out for no cap", field=name)


def pace_of(model: TeacherModel, slots: int | None = None) -> Pace:
    """The caps that a teacher's reference names; `slots` is how many calls the teacher answers at once, if known."""
    caps = [cap for cap in (model.concurrency, slots) if cap]
    return Pace(
        concurrency=min(caps) if caps else None,
        requests_per_minute=model.requests_per_minute or None,
        tokens_per_minute=model.tokens_per_minute or None,
    )


class Pacer:
    """Lets calls start, first come first served.

    The limit on calls in flight goes up by one for each limit's worth of successes and is halved when a call is
    throttled, at most once a round trip: a call that started before the last halving says nothing new. With a cap the
    limit starts there, since a slow start costs more than a few refusals.
    """

    def __init__(self, pace: Pace | None = None, clock: Clock | None = None) -> None:
        """Without a pace there are no caps but 64 calls in flight."""
        pace = pace or Pace()
        self._clock = clock or SystemClock()
        self._cap = pace.concurrency or LARGEST_CONCURRENCY
        self._limit = float(pace.concurrency or FIRST_CONCURRENCY)
        self._requests = _bucket(pace.requests_per_minute, self._clock)
        self._tokens = _bucket(pace.tokens_per_minute, self._clock)
        self._in_flight = 0
        self._halved_at = float("-inf")
        self._full_at = float("-inf")
        self._resume_at = float("-inf")
        self._line = asyncio.Lock()
        self._room = asyncio.Event()

    @property
    def limit(self) -> int:
        """Calls that may be in flight now."""
        return int(self._limit)

    @property
    def in_flight(self) -> int:
        """Calls that are in flight now."""
        return self._in_flight

    async def start(self, estimated_tokens: int = 0) -> Turn:
        """Waits until one more call may start. The turn must be ended, whatever becomes of the call."""
        async with self._line:
            while True:
                while self._in_flight >= self.limit:
                    self._room.clear()
                    await self._room.wait()
                seconds = self._wait_seconds(estimated_tokens)
                if seconds <= 0:
                    break
                await self._clock.sleep(seconds)
            self._in_flight += 1
            if self._in_flight >= self.limit:
                self._full_at = self._clock.now()
            for bucket, amount in ((self._requests, 1.0), (self._tokens, float(estimated_tokens))):
                if bucket is not None:
                    bucket.take(amount)
            return Turn(self, self._clock.now(), estimated_tokens)

    def _wait_seconds(self, estimated_tokens: int) -> float:
        waits = [self._resume_at - self._clock.now()]
        if self._requests is not None:
            waits.append(self._requests.wait_seconds(1.0))
        if self._tokens is not None:
            waits.append(self._tokens.wait_seconds(float(estimated_tokens)))
        return max(waits)

    def _end(self, estimated_tokens: int, actual_tokens: int) -> None:
        self._in_flight -= 1
        if self._tokens is not None:
            self._tokens.take(float(actual_tokens - estimated_tokens))
        self._room.set()

    def _succeeded(self, started_at: float) -> None:
        # A limit that was not reached meanwhile has not been tried out, and does not grow.
        if self._full_at >= started_at and self._limit < self._cap:
            self._limit = min(self._cap, self._limit + 1 / self.limit)

    def _throttled(self, started_at: float, retry_after_seconds: float | None) -> None:
        now = self._clock.now()
        if started_at >= self._halved_at:
            self._limit = max(1.0, self._limit // 2)
            self._halved_at = now
        if retry_after_seconds is not None:
            self._resume_at = max(self._resume_at, now + retry_after_seconds)


class Turn:
    """One call that may be made. Ending it twice is harmless; only the first counts."""

    def __init__(self, pacer: Pacer, started_at: float, estimated_tokens: int) -> None:
        """Made by the pacer."""
        self._pacer = pacer
        self._started_at = started_at
        self._estimated_tokens = estimated_tokens
        self._open = True

    def succeeded(self, tokens: int) -> None:
        """It was answered, and used that many tokens in all."""
        if self._open:
            self._pacer._succeeded(self._started_at)
        self._close(tokens)

    def throttled(self, retry_after_seconds: float | None) -> None:
        """The server had too many: fewer calls from now on, and none before it says so."""
        if self._open:
            self._pacer._throttled(self._started_at, retry_after_seconds)
        self._close(0)

    def failed(self) -> None:
        """It ended in another way, which says nothing about pace."""
        self._close(0)

    def _close(self, tokens: int) -> None:
        if self._open:
            self._open = False
            self._pacer._end(self._estimated_tokens, tokens)


def _bucket(per_minute: int | None, clock: Clock) -> TokenBucket | None:
    """A smooth quota: any 60 seconds see at most `per_minute`, a small burst included."""
    if per_minute is None:
        return None
    burst = max(1.0, per_minute / 60 * _BURST_SECONDS)
    return TokenBucket(max(per_minute - burst, 0.96 * per_minute) / 60, burst, clock.now)
