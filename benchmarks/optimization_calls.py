"""What an arm of `optimization_speed` asked, in figures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from measuring import ROLE, SEED


@dataclass(frozen=True)
class Measured:
    """One run of an arm; seconds are this machine's."""

    calls: int
    proposals: int
    """Those of the calls that are no prompt of the role."""
    seconds: float
    cpu_seconds: float
    """Of the arm's process; a student's server is another."""
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    readable: float
    """Fraction of the answers to the role's prompts that have every output."""
    score: float
    """Mean of the program that was found, on the validation rows."""


@dataclass(frozen=True)
class Call:
    """A question that was put, and what came of it; no text: it failed."""

    messages: Sequence[Any]
    text: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


def measured_calls(calls: Sequence[Call], seconds: float, cpu_seconds: float, score: float) -> Measured:
    """A run of an arm by what it asked."""
    from stillhouse.roles.role import load_role

    role = load_role(ROLE)
    rows = [call for call in calls if role.inputs_of(call.messages) is not None]
    whole = sum(set(role.parse(call.text).outputs) == set(role.output_fields) for call in rows)
    return Measured(
        calls=len(calls),
        proposals=len(calls) - len(rows),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        prompt_tokens=sum(call.prompt_tokens for call in calls),
        cached_tokens=sum(call.cached_tokens for call in calls),
        completion_tokens=sum(call.completion_tokens for call in calls),
        readable=whole / len(rows),
        score=score,
    )


class Witness:
    """Stands before a model as an engine of DSPy's, and keeps what passes to be counted after the clock."""

    supports_response_schema = False
    supported_params = frozenset({"temperature", "max_tokens", "seed", "top_p", "top_k", "stop"})

    def __init__(self, complete: Callable[[Any], Any]) -> None:
        """`complete` takes a dspy.lm15.Request and returns a Response."""
        self._complete = complete
        self._lock = threading.Lock()
        self.passed: list[tuple[Any, Any]] = []

    def complete(self, request: Any) -> Any:
        """The answer, drawn with the benchmark's seed."""
        response = None
        try:
            response = self._complete(replace(request, config=replace(request.config, seed=SEED)))
        finally:
            with self._lock:
                self.passed.append((request, response))
        return response

    def measured(self, seconds: float, cpu_seconds: float, score: float) -> Measured:
        """What passed, in figures."""
        from dspy import lm15

        from stillhouse.client.dspy import request_messages

        calls = []
        for request, answer in self.passed:
            usage = lm15.Usage() if answer is None else answer.usage
            calls.append(
                Call(
                    request_messages(request),
                    "" if answer is None else "".join(part.text for part in answer.message.parts),
                    usage.input_tokens or 0,
                    usage.cache_read_tokens or 0,
                    usage.output_tokens or 0,
                )
            )
        return measured_calls(calls, seconds, cpu_seconds, score)


def call_of(entry: Mapping[str, Any]) -> Call | None:
    """An entry of DSPy's history; None for an answer out of its cache."""
    from stillhouse.roles.role import Message

    if not (usage := entry["usage"]):
        return None
    messages = [Message(turn["role"], turn["content"]) for turn in entry["messages"]]
    text = entry["outputs"][0]
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Call(
        messages,
        str(text["text"] if isinstance(text, Mapping) else text or ""),
        usage["prompt_tokens"],
        cached,
        usage["completion_tokens"],
    )
