"""Lines of a teacher's calls file for tests of the report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

STARTED = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


def call(index: int, **values: Any) -> dict[str, Any]:
    """One line of the calls file; an accepted first answer unless `values` say otherwise."""
    asked = STARTED + timedelta(seconds=3 * index)
    return {
        "concept": index,
        "stage": "flash",
        "model": "gemini-2.5-flash",
        "kind": "first",
        "attempt": 1,
        "finish_reason": "stop",
        "accepted": True,
        "reason": "",
        "score": 0.88 + index % 10 / 100,
        "prompt_tokens": 900,
        "completion_tokens": 700,
        "thinking_tokens": 300,
        "cost_usd": 0.0028,
        "latency_seconds": 8.0 + index % 5,
        "asked_at": asked.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "tier": ("simple", "medium", "corporate")[index % 3],
        **values,
    }


def calls() -> list[dict[str, Any]]:
    """Ninety calls of two models: half of the larger one's lack a block, and most repairs rescue them."""
    made: list[dict[str, Any]] = []
    for index in range(90):
        values: dict[str, Any] = {}
        if index < 30:
            values |= {"model": "gemini-2.5-pro", "stage": "pro", "cost_usd": 0.0111, "latency_seconds": 14.0}
            if index % 2:
                values |= {"accepted": False, "reason": "missing_block", "score": None}
            elif index % 4 == 0:
                values["kind"] = "repair"
        elif index % 7 == 0:
            values |= {"accepted": False, "reason": "low_score", "score": 0.62 + index % 5 / 30}
        elif index % 13 == 0:
            values |= {"accepted": False, "reason": "guard:repetition", "score": 0.91}
        elif index % 29 == 0:
            values |= {"accepted": False, "reason": "blocked", "score": None, "finish_reason": "blocked"}
        made.append(call(index, **values))
    return made
