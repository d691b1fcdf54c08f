"""What asking a teacher has come to, in numbers and in events. Written by `paid`, read by progress views.

It must not know how calls are made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class EventKind(StrEnum):
    """What happened to one call or question."""

    ANSWERED = "answered"
    """A paid answer, in the log by now."""
    FROM_LOG = "from log"
    THROTTLED = "throttled"
    """The server had too many, and the call is made again."""
    UNAVAILABLE = "unavailable"
    """The server could not be reached or failed, and the call is made again."""
    DEADLINE = "deadline exceeded"
    """No answer in time, and the call is made again."""
    FAILED = "failed"
    """The question's error, which whoever asked gets."""


@dataclass(frozen=True)
class CallEvent:
    """One thing that happened, for a log line or a live view."""

    kind: EventKind
    model: str
    message: str = ""
    """The error's, where there is one."""
    pause_seconds: float = 0.0
    """Until the call is made again."""
    latency_seconds: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    """Thinking included."""
    cost_usd: float = 0.0


OnEvent: TypeAlias = Callable[[CallEvent], None]


@dataclass(frozen=True)
class Figures:
    """One teacher's calls so far. Tokens and cost are those of paid calls of this process."""

    calls: int = 0
    """Answered and paid."""
    from_log: int = 0
    in_flight: int = 0
    throttled: int = 0
    unavailable: int = 0
    deadlines: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    """Thinking included."""
    cost_usd: float = 0.0
    log_cost_usd: float = 0.0
    """What the answers from the log cost when they were paid; each is counted once."""
    concurrency_limit: int = 0
    """Calls that pacing allows in flight now."""
    trouble: str = ""
    """What the last failed call met and what helps, until a call is answered."""
