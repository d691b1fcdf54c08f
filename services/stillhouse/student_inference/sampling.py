"""Sampling parameters as plain values, checked before they reach llama.cpp.

Called by the servicer and the engine; knows no grpc and no model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from stillhouse.errors import InvalidArgument

LARGEST_SEED = 2**32 - 2
"""llama.cpp's seeds have 32 bits, of which the largest means "random"."""
MAX_STOPS = 16
MAX_STOP_BYTES = 256
MAX_ANSWER_TOKENS = 1 << 20

_RANGES = {
    "temperature": (0.0, 5.0),
    "top_p": (0.0, 1.0),
    "frequency_penalty": (-2.0, 2.0),
    "presence_penalty": (-2.0, 2.0),
    "repetition_penalty": (0.0, 10.0),
}
_ABOVE_ZERO = {"top_p", "repetition_penalty"}


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn. What a request leaves out is greedy and unpenalised, so that equal requests agree."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """0 and -1 switch it off."""
    max_tokens: int = 2048
    """The end of the slot's context ends an answer as well."""
    seed: int | None = None
    stop: tuple[str, ...] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        """Raises InvalidArgument that names the field and its range."""
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high) or (name in _ABOVE_ZERO and value == 0):
                opening = "(" if name in _ABOVE_ZERO else "["
                raise _wrong(name, f"{value:g} is not in {opening}{low:g}, {high:g}]")
        _check_integer("top_k", self.top_k, -1, 1 << 20)
        _check_integer("max_tokens", self.max_tokens, 1, MAX_ANSWER_TOKENS)
        if self.seed is not None:
            _check_integer("seed", self.seed, 0, LARGEST_SEED)
        _check_stops(self.stop)

    def as_llama(self, context_tokens: int) -> Mapping[str, object]:
        """The fields as llama.cpp's completion endpoint names them; samplers that nobody asked for are off.

        Penalties look back over the whole context, as elsewhere, not over llama.cpp's 64 tokens.
        """
        fields: dict[str, object] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": max(self.top_k, 0),
            "min_p": 0.0,
            "n_predict": self.max_tokens,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
            "repeat_penalty": self.repetition_penalty,
            "repeat_last_n": context_tokens,
        }
        if self.seed is not None:
            fields["seed"] = self.seed
        if self.stop:
            fields["stop"] = list(self.stop)
        return fields


def _wrong(name: str, what: str) -> InvalidArgument:
    return InvalidArgument(f"sampling.{name}: {what}", field=f"sampling.{name}")


def _check_integer(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise _wrong(name, f"{value} is not in [{low}, {high}]")


def _check_stops(stops: tuple[str, ...]) -> None:
    if len(stops) > MAX_STOPS:
        raise _wrong("stop", f"{len(stops)} stop texts; at most {MAX_STOPS} are taken")
    for stop in stops:
        if not stop or len(stop.encode()) > MAX_STOP_BYTES:
            raise _wrong("stop", f"a stop text has 1 to {MAX_STOP_BYTES} bytes")
