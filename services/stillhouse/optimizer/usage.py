"""What a run has used of its models, and what it may use. Pure; kept by the journal."""

from __future__ import annotations

from dataclasses import dataclass

from stillhouse.artifacts.answers import LoggedAnswer
from stillhouse.optimizer.logged_calls import cached_tokens


@dataclass(frozen=True)
class Limits:
    """What a run may use before it ends with its best program so far; None: no limit."""

    max_calls: int | None = None
    max_total_tokens: int | None = None
    max_cost_usd: float | None = None
    max_seconds: float | None = None


@dataclass(frozen=True)
class Usage:
    """Answers of a run, whenever they were given: a replay counts them alike."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    from_log: int = 0
    """Those of the calls that this process found in the log."""

    def plus(self, answer: LoggedAnswer, *, from_log: bool) -> Usage:
        """With one more answer."""
        return Usage(
            self.calls + 1,
            self.prompt_tokens + answer.prompt_tokens,
            self.cached_tokens + cached_tokens(answer),
            self.completion_tokens + answer.completion_tokens,
            self.cost_usd + answer.cost_usd,
            self.from_log + from_log,
        )
