"""The answer log: every call of a model by what was asked, kept for ever, so that an answer is paid for once.

Called by whoever asks a model: evaluator, teacher, optimizer. It must not know models, roles or prompts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import rfc8785

from stillhouse.artifacts.store import Store
from stillhouse.errors import DataLoss, InvalidArgument

ParameterValue = str | int | float | bool | None


@dataclass(frozen=True)
class AnswerQuery:
    """What was asked of which model. Equal queries have one answer."""

    model: str
    """The model with its version or digest, for example `student:sha256:...` or `gemini-2.5-pro`."""
    prompt: str
    """The rendered prompt as the model got it: canonical JSON of the messages, or text."""
    parameters: Mapping[str, ParameterValue]
    """Sampling parameters and everything else that changes the answer, such as the constraint's digest."""
    seed: int
    attempt: int = 0
    """Counts the times that the same question was asked on purpose."""

    def digest(self) -> str:
        """Lower-case hexadecimal SHA-256. Raises InvalidArgument for a NaN, an infinity or an integer above 2^53."""
        return hashlib.sha256(_canonical(self._tree())).hexdigest()

    def _tree(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "prompt": self.prompt,
            "parameters": dict(self.parameters),
            "seed": str(self.seed),
            "attempt": self.attempt,
        }


@dataclass(frozen=True)
class LoggedAnswer:
    """What the model said, and what it cost."""

    text: str
    finish_reason: str
    """`stop` or `length`, or the model's own word."""
    prompt_tokens: int
    completion_tokens: int
    latency_seconds: float
    cost_usd: float = 0.0
    extra: Mapping[str, str] = field(default_factory=dict)


class AnswerLog:
    """The answers in one store."""

    def __init__(self, store: Store) -> None:
        """`store` is shared by everyone who asks; it holds what their questions are made of, too."""
        self.store = store

    def get(self, query: AnswerQuery) -> LoggedAnswer | None:
        """The answer to `query`; None if it was never asked. Raises DataLoss if the log is broken there."""
        path = answer_path(query.digest())
        data = self.store.read_object(path)
        return None if data is None else _parse(data, f"{self.store.uri}/{path}")

    def put(self, query: AnswerQuery, answer: LoggedAnswer) -> LoggedAnswer:
        """Keeps `answer`, or finds that one is kept already; returns the one that is kept."""
        tree = {"query": query._tree(), "answer": dataclasses.asdict(answer)}
        path = answer_path(query.digest())
        if self.store.put_object_if_absent(path, _canonical(tree)):
            return answer
        return self.get(query) or answer


def answer_path(digest: str) -> str:
    """Where an answer lies in its store."""
    return f"answers/{digest[:2]}/{digest}.json"


def _canonical(tree: dict[str, Any]) -> bytes:
    try:
        data: bytes = rfc8785.dumps(tree)
    except rfc8785.CanonicalizationError as exc:
        raise InvalidArgument(f"a model's parameters or usage can't be logged: {exc}") from exc
    return data


def _parse(data: bytes, place: str) -> LoggedAnswer:
    try:
        fields = json.loads(data)["answer"]
        return LoggedAnswer(
            text=str(fields["text"]),
            finish_reason=str(fields["finish_reason"]),
            prompt_tokens=int(fields["prompt_tokens"]),
            completion_tokens=int(fields["completion_tokens"]),
            # Canonical JSON writes 0.0 as 0.
            latency_seconds=float(fields["latency_seconds"]),
            cost_usd=float(fields["cost_usd"]),
            extra=dict(fields["extra"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise DataLoss(f"{place} is no logged answer ({exc}); delete it to have it asked again") from exc
