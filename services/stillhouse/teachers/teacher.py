"""What a teacher is: one question in, one answer out, asynchronously. The seam between providers and who asks them.

Written by the provider modules beside it, wrapped by `paid`. It must not know roles' fields, stages or stores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from stillhouse.roles.role import Message


class FinishReason(StrEnum):
    """Why an answer ended. Only STOP and LENGTH carry text that is worth reading."""

    STOP = "stop"
    LENGTH = "length"
    """The limit on output tokens, thinking included, was reached."""
    BLOCKED = "blocked"
    """A safety filter stopped the prompt or the answer."""
    RECITATION = "recitation"
    EMPTY = "empty"
    """No candidate, or one without text."""
    OTHER = "other"


@dataclass(frozen=True)
class Question:
    """Everything that decides an answer, but for the model."""

    messages: tuple[Message, ...]
    """System message first where there is one; then user and assistant in turns, a user's last."""
    max_output_tokens: int
    """Thinking included, as Gemini counts it."""
    temperature: float = 0.7
    seed: int = 0
    thinking_budget: int | None = None
    """Tokens to think with at most; 0 switches thinking off, None leaves it to the model."""
    response_schema: Mapping[str, Any] | None = None
    """JSON schema (type, properties, required, items, enum, description only) of the answer; None: text."""

    @property
    def seed_of_31_bits(self) -> int:
        """The seed folded into all that Vertex AI and llama.cpp take."""
        return self.seed & 0x7FFF_FFFF


@dataclass(frozen=True)
class Answer:
    """What came back, and what it used."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    """Tokens of the text; thinking is counted apart."""
    thinking_tokens: int = 0
    detail: str = ""
    """The provider's own word where the answer did not end with STOP: `SAFETY: HARM_CATEGORY_DANGEROUS_CONTENT`."""


class Teacher(Protocol):
    """One model of one provider. All methods are called on one event loop."""

    identity: str
    """Enters the answer log's key: `vertex:gemini-2.5-flash`, `student:sha256:...`. No address that may change."""
    slots: int | None
    """Calls that it answers at the same time, where that is known; no more are made."""

    async def ask(self, question: Question, *, deadline_seconds: float) -> Answer:
        """One call, never retried here.

        Raises ResourceExhausted (with retry_after_seconds where the server says so), Unavailable, DeadlineExceeded,
        PermissionDenied (naming what to do about the credential), NotFound (unknown model), InvalidArgument.
        """
        ...

    async def close(self) -> None:
        """Gives connections and processes back."""
        ...
