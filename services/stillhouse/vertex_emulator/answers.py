"""The scripted model: a role's author writes, faults spoil, token limits cut. Called by the traffic desk.

Pure: an answer depends on the server's seed and the prompt alone, so that a restart changes no answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from stillhouse.roles.role import Role
from stillhouse.vertex_emulator.faults import (
    NO_FAULTS,
    Ending,
    Faults,
    cut_off,
    draw_faults,
    recorded_rates,
    with_open_quote,
    without_last_block,
    without_last_property,
)
from stillhouse.vertex_emulator.prompt import CHARACTERS_A_TOKEN, Prompt, seeded, token_count

MODEL_OUTPUT_LIMIT = 65_535
"""Of gemini-2.5 models, where a request names none: Vertex AI's model cards."""
LATENCY_SIGMA = 0.35
"""Of the logarithm of an answer's seconds: nine of ten answers within 0.56 and 1.78 times the median."""


@dataclass(frozen=True)
class EmulatedAnswer:
    """An answer as any door can send it."""

    text: str
    ending: Ending
    prompt_tokens: int
    text_tokens: int
    thinking_tokens: int
    faults: tuple[str, ...] = ()

    @property
    def output_tokens(self) -> int:
        """What is billed as output: text and thinking."""
        return self.text_tokens + self.thinking_tokens


@dataclass(frozen=True)
class Behaviour:
    """How a caller wants to be answered, on a server that many share."""

    recorded_faults: bool
    seed: int
    latency_seconds: float
    """Median."""


class ScriptedModel:
    """All models of the server: they differ by name in thinking and in faults."""

    def __init__(self, role: Role, *, seed: int, recorded_faults: bool) -> None:
        """`role` writes the answers; without `recorded_faults` all of them are good."""
        self._role = role
        self._seed = seed
        self._recorded = recorded_faults

    def behaving(self, behaviour: Behaviour) -> ScriptedModel:
        """The same author with other faults and another seed."""
        return ScriptedModel(self._role, seed=behaviour.seed, recorded_faults=behaviour.recorded_faults)

    def answer(self, prompt: Prompt) -> EmulatedAnswer:
        """The answer to a prompt, always the same one."""
        random = seeded(self._seed, "answer", prompt.digest)
        rates = recorded_rates(prompt.model) if self._recorded else NO_FAULTS
        faults = draw_faults(rates, random, repair=prompt.is_repair, structured=prompt.schema is not None)
        thinking = _thinking_tokens(prompt, random.uniform(0.6, 1.4))
        if faults.ending is not Ending.STOP:
            return EmulatedAnswer("", faults.ending, prompt.tokens, 0, thinking, faults.names)
        text = self._role.reply(prompt.messages, prompt.schema, seed=random.getrandbits(31), careless=faults.careless)
        if faults.missing:
            text = without_last_block(text) if prompt.schema is None else without_last_property(text)
        if faults.malformed:
            text = with_open_quote(text, random)
        if faults.truncated:
            return _overrun(prompt, cut_off(text, random), thinking, faults)
        return _within_limit(prompt, text, thinking, faults)

    def latency_seconds(self, prompt: Prompt, median: float) -> float:
        """How long the answer takes: log-normal about the median, with sigma 0.35."""
        if median <= 0:
            return 0.0
        return median * math.exp(LATENCY_SIGMA * seeded(self._seed, "latency", prompt.digest).gauss(0.0, 1.0))


def _thinking_tokens(prompt: Prompt, factor: float) -> int:
    """Thoughts: about 1,000 of a pro, 400 of a flash (assumed, none were recorded); flash-lite has them off."""
    usual = 0 if "flash-lite" in prompt.model else 1000 if "pro" in prompt.model else 400
    thinking = int(usual * factor)
    budget = prompt.thinking_budget
    # A budget below zero is Vertex' word for "as the model likes".
    return thinking if budget is None or budget < 0 else min(thinking, budget)


def _within_limit(prompt: Prompt, text: str, thinking: int, faults: Faults) -> EmulatedAnswer:
    limit = prompt.max_output_tokens or MODEL_OUTPUT_LIMIT
    count = token_count(text)
    if thinking + count <= limit:
        return EmulatedAnswer(text, Ending.STOP, prompt.tokens, count, thinking, faults.names)
    thinking = min(thinking, limit)
    room = limit - thinking
    cut = text[: room * CHARACTERS_A_TOKEN]
    return EmulatedAnswer(cut, Ending.LENGTH, prompt.tokens, token_count(cut), thinking, faults.names)


def _overrun(prompt: Prompt, text: str, thinking: int, faults: Faults) -> EmulatedAnswer:
    """All of the limit is used: by thinking, or, of a model that does not think, by white space that is not sent."""
    limit = prompt.max_output_tokens or MODEL_OUTPUT_LIMIT
    thinks = thinking > 0
    text = text[: max(0, limit - thinking) * CHARACTERS_A_TOKEN]
    used = token_count(text)
    return EmulatedAnswer(
        text, Ending.LENGTH, prompt.tokens, used if thinks else limit, limit - used if thinks else 0, faults.names
    )
