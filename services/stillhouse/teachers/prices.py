"""What a model's tokens cost, in one dated table; thinking is paid as output.

US dollars for a million tokens, list prices for on-demand text, read on 2026-11-23. Sources: Gemini 2.5, OpenAI,
Anthropic, Mistral and DeepSeek as in the price map that litellm 1.106.2 ships
(model_prices_and_context_window_backup.json, which cites the providers' price pages); Gemini 2.0 as on Vertex AI's
price page before it left that map. Gemini 2.5 pro's price is for prompts of at most 200,000 tokens. Called by whoever
opens a paid teacher; a price list of the user's own goes first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

from stillhouse.errors import InvalidArgument
from stillhouse.teachers.teacher import Question
from stillhouse.v1.teacher_pb2 import ModelPrice, TeacherModel

_MILLION = 1_000_000
_TOKENS_AROUND_A_MESSAGE = 16
"""Role markers and the like, from above."""

_TABLE: dict[str, tuple[float, float]] = {
    "gemini-2.5-pro": (1.25, 10.0),
    "gemini-2.5-flash": (0.30, 2.50),
    "gemini-2.5-flash-lite": (0.10, 0.40),
    "gemini-2.0-flash": (0.15, 0.60),
    "gemini-2.0-flash-001": (0.15, 0.60),
    "gemini-2.0-flash-lite": (0.075, 0.30),
    "gpt-4o": (2.50, 10.0),
    "gpt-4o-mini": (0.15, 0.60),
    "gpt-4.1": (2.00, 8.00),
    "gpt-4.1-mini": (0.40, 1.60),
    "gpt-4.1-nano": (0.10, 0.40),
    "gpt-5": (1.25, 10.0),
    "gpt-5-mini": (0.25, 2.00),
    "claude-opus-4-5": (5.00, 25.0),
    "claude-sonnet-4-5": (3.00, 15.0),
    "claude-haiku-4-5": (1.00, 5.00),
    "mistral/mistral-large-latest": (0.50, 1.50),
    "mistral/mistral-small-latest": (0.15, 0.60),
    "deepseek/deepseek-chat": (0.28, 0.42),
}
_SAME_PRICE_PREFIXES = ("vertex_ai/", "openai/", "anthropic/")
_FREE_PROVIDERS = frozenset({"gguf", "student"})
_FREE_PREFIXES = ("ollama/", "ollama_chat/")


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens."""

    input_per_million_usd: float
    output_per_million_usd: float

    def cost(self, prompt_tokens: int, output_tokens: int) -> float:
        """Dollars of one call; `output_tokens` includes thinking."""
        return (prompt_tokens * self.input_per_million_usd + output_tokens * self.output_per_million_usd) / _MILLION

    def maximum(self, question: Question) -> float:
        """Dollars that a call costs at most.

        A token stands for at least one byte of text, so bytes bound the prompt from above; its share is small beside
        the limit on output tokens.
        """
        return self.cost(prompt_tokens_at_most(question), question.max_output_tokens)


FREE = Price(0.0, 0.0)


def price_of(model: TeacherModel, overrides: Iterable[ModelPrice] = ()) -> Price | None:
    """The price of that teacher's tokens; None where nobody knows it. The last override of its name wins.

    Zero for what runs on one's own machines (gguf, student, ollama); the emulator costs what it emulates. Raises
    InvalidArgument for an override that is negative or no number.
    """
    own = {each.model: _checked(each) for each in overrides}
    if model.model in own:
        return own[model.model]
    if model.provider in _FREE_PROVIDERS or model.model.startswith(_FREE_PREFIXES):
        return FREE
    found = _TABLE.get(_bare_name(model.model))
    return None if found is None else Price(*found)


def prompt_tokens_at_most(question: Question) -> int:
    """Tokens that a question's prompt has at most: its bytes, a schema's included, and what stands around messages."""
    bytes_in_all = sum(len(message.content.encode("utf-8", "surrogatepass")) for message in question.messages)
    schema = 0 if question.response_schema is None else len(json.dumps(question.response_schema))
    return bytes_in_all + schema + _TOKENS_AROUND_A_MESSAGE * len(question.messages)


def _bare_name(name: str) -> str:
    for prefix in _SAME_PRICE_PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _checked(price: ModelPrice) -> Price:
    for name, value in (("input", price.input_per_million_usd), ("output", price.output_per_million_usd)):
        if not (math.isfinite(value) and value >= 0):
            raise InvalidArgument(
                f"the {name} price of {price.model or 'a model without a name'} is {value}; give US dollars for a "
                "million tokens, 0 or more",
                field="dataset.teacher.prices",
            )
    return Price(price.input_per_million_usd, price.output_per_million_usd)
