"""What a model is asked, free of any wire format, and the digest that names the question. Both doors make it.

It must not know roles, gRPC or HTTP.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

from stillhouse.roles.role import Message

CHARACTERS_A_TOKEN = 4
"""The usual estimate for English; it makes counts a function of the text alone."""


@dataclass(frozen=True)
class Prompt:
    """One question to one model: everything that decides the answer, and nothing else."""

    model: str
    """Short name: `gemini-2.5-flash`."""
    messages: tuple[Message, ...]
    """System message first where there is one; then user and assistant in turns."""
    schema: Mapping[str, Any] | None = None
    """JSON schema that the answer is to satisfy; None: text."""
    max_output_tokens: int | None = None
    """Thinking included; None is the model's own limit."""
    thinking_budget: int | None = None
    """Tokens to think with at most; None leaves it to the model."""
    temperature: float | None = None
    seed: int | None = None
    extra: str = ""
    """Parameters that change nothing here but make it another question, in any stable notation."""

    @cached_property
    def digest(self) -> str:
        """sha256 in hex over all fields: equal questions, equal digests, whatever the process or the door."""
        fields = [
            self.model,
            [[message.role, message.content] for message in self.messages],
            self.schema,
            self.max_output_tokens,
            self.thinking_budget,
            None if self.temperature is None else round(self.temperature, 6),
            self.seed,
            self.extra,
        ]
        return hashlib.sha256(json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()

    @cached_property
    def tokens(self) -> int:
        """Estimated tokens of the messages."""
        return token_count("".join(message.content for message in self.messages))

    @property
    def is_repair(self) -> bool:
        """True if an answer of the model's stands in the conversation: then something is asked about it."""
        return sum(message.role == "user" for message in self.messages) > 1


def token_count(text: str) -> int:
    """Estimated tokens of a text; 0 for none."""
    return -(-len(text) // CHARACTERS_A_TOKEN)


def seeded(seed: int, *names: str) -> Random:
    """Random numbers that depend on the arguments alone, the same in every process."""
    digest = hashlib.sha256("/".join((str(seed), *names)).encode()).digest()
    return Random(int.from_bytes(digest[:8], "big"))  # noqa: S311 - a script, not a secret


def json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema reduced to what models are held to: type, description, enum, required, items, properties.

    A list of types becomes its first that is not null.
    """
    plain: dict[str, Any] = {}
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), None)
    if kind:
        plain["type"] = str(kind).lower()
    for name in ("description", "enum", "required"):
        if schema.get(name):
            plain[name] = schema[name]
    if isinstance(schema.get("items"), Mapping):
        plain["items"] = json_schema(schema["items"])
    if isinstance(schema.get("properties"), Mapping):
        plain["properties"] = {name: json_schema(each) for name, each in schema["properties"].items()}
    return plain
