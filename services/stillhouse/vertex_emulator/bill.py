"""What the server counts: calls, tokens, dollars, who was turned away; and the bill log, a line a billed call.

Called by the traffic desk on its event loop. A line is in the file before its answer is sent.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stillhouse.errors import FailedPrecondition
from stillhouse.teachers.prices import FREE, Price
from stillhouse.vertex_emulator.answers import EmulatedAnswer
from stillhouse.vertex_emulator.prompt import Prompt

STATS_SECONDS = 0.1
_TOP = 10


@dataclass
class ModelBill:
    """What was billed for one model."""

    calls: int = 0
    prompt_tokens: int = 0
    text_tokens: int = 0
    thinking_tokens: int = 0
    cost_usd: float = 0.0


@dataclass
class Traffic:
    """Calls by what became of them."""

    requests: int = 0
    throttled: int = 0
    unavailable: int = 0
    stalled: int = 0
    unauthenticated: int = 0
    in_flight: int = 0
    most_in_flight: int = 0


PriceOf = Callable[[str], Price | None]
"""The price of a model's tokens by its name; None where nobody knows it, and then its calls cost nothing here."""


class Bill:
    """The counts of one server. It remembers eight bytes of every question's digest to see what is billed twice."""

    def __init__(self, price_of: PriceOf, *, log: Path | None = None, stats: Path | None = None) -> None:
        """`log` is appended to, `stats` replaced. Raises FailedPrecondition if one can't be written."""
        self.traffic = Traffic()
        self._price_of = price_of
        self._prices: dict[str, Price] = {}
        self._models: dict[str, ModelBill] = {}
        self._faults: Counter[str] = Counter()
        self._seen: dict[int, int] = {}
        self._repeated: Counter[str] = Counter()
        self._stats = stats
        self._written = 0.0
        self._log = _opened(log) if log is not None else None
        if stats is not None:
            self.write_stats()

    @property
    def calls(self) -> int:
        """Calls that were billed."""
        return sum(model.calls for model in self._models.values())

    def charge(self, prompt: Prompt, answer: EmulatedAnswer) -> None:
        """Bills an answer that is about to be sent."""
        if prompt.model not in self._models:
            self._models[prompt.model] = ModelBill()
            self._prices[prompt.model] = self._price_of(prompt.model) or FREE
        model = self._models[prompt.model]
        model.calls += 1
        model.prompt_tokens += answer.prompt_tokens
        model.text_tokens += answer.text_tokens
        model.thinking_tokens += answer.thinking_tokens
        model.cost_usd += self._prices[prompt.model].cost(answer.prompt_tokens, answer.output_tokens)
        self._faults.update(answer.faults)
        key = int(prompt.digest[:16], 16)
        self._seen[key] = self._seen.get(key, 0) + 1
        if self._seen[key] > 1:
            self._repeated[prompt.digest] = self._seen[key]
        if self._log is not None:
            line = {"digest": prompt.digest, "model": prompt.model, "output_tokens": answer.output_tokens}
            os.write(self._log, (json.dumps(line) + "\n").encode())

    def snapshot(self) -> dict[str, Any]:
        """Everything counted, as JSON."""
        models = self._models.values()
        return {
            **asdict(self.traffic),
            "billed_calls": self.calls,
            "billed_twice": len(self._repeated),
            "billed_most": [{"digest": digest, "calls": count} for digest, count in self._repeated.most_common(_TOP)],
            "prompt_tokens": sum(model.prompt_tokens for model in models),
            "output_tokens": sum(model.text_tokens + model.thinking_tokens for model in models),
            "cost_usd": round(sum(model.cost_usd for model in models), 6),
            "by_model": {name: asdict(model) for name, model in sorted(self._models.items())},
            "faults": dict(sorted(self._faults.items())),
        }

    def stats_wait(self) -> float | None:
        """Seconds until the stats file may be written again; None where there is none."""
        if self._stats is None:
            return None
        return max(0.0, self._written + STATS_SECONDS - time.monotonic())

    def write_stats(self) -> None:
        """Replaces the stats file at once. Raises FailedPrecondition if it can't be written."""
        if self._stats is None:
            return
        self._written = time.monotonic()
        part = self._stats.with_name(f".{self._stats.name}.{os.getpid()}")
        try:
            part.write_text(json.dumps(self.snapshot(), indent=1) + "\n", encoding="utf-8")
            part.replace(self._stats)
        except OSError as exc:
            raise FailedPrecondition(f"--stats {self._stats} can't be written: {exc.strerror}", field="stats") from exc

    def close(self) -> None:
        """Writes the stats for the last time and closes the log."""
        if self._log is not None:
            os.close(self._log)
            self._log = None
        self.write_stats()


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    except OSError as exc:
        raise FailedPrecondition(f"--bill-log {path} can't be written: {exc.strerror}", field="bill_log") from exc
