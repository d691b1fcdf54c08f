"""What the evaluator asks of a student: one question, one answer. Implemented over gRPC in connection.py.

Called by the evaluation; it must not know how the student is reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from stillhouse.roles.role import Message


@dataclass(frozen=True)
class Question:
    """One prompt with everything that decides its answer."""

    messages: Sequence[Message]
    grammar: str
    """GBNF text that holds the answer; empty for none."""
    max_tokens: int
    temperature: float
    seed: int
    cache_prompt: bool = False
    """Whether what the prompt begins with may be read once for many; where seconds are measured it may not."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """The row's inputs, for a model that is asked with a prompt of its own."""


@dataclass(frozen=True)
class StudentAnswer:
    """One answer, as the student gave it."""

    text: str
    finish_reason: str
    """`stop` or `length`."""
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    """Wall seconds from sending the request to having the whole answer."""
    model_sha256: str
    """Digest of the model that answered; empty where the server does not say."""


class Student(Protocol):
    """A model that answers, from several threads where an evaluation asks several rows at a time."""

    @property
    def address(self) -> str:
        """Where it is, for messages."""
        ...

    def model_sha256(self) -> str:
        """Digest of the served model; empty where the server does not say. Raises Unavailable."""
        ...

    def generate(self, question: Question) -> StudentAnswer:
        """Answers, by the prefix cache only where the question allows it.

        Raises the errors of `stillhouse.errors`; Unavailable where it is gone.
        """
        ...
