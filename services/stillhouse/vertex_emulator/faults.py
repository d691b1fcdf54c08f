"""How often, and how, an answer comes out wrong: rates by model name, and what each fault does to a text.

Called by `answers`. Pure; it knows fences and JSON, and no role.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Ending(StrEnum):
    """How an answer ends."""

    STOP = "stop"
    LENGTH = "length"
    SAFETY = "safety"
    RECITATION = "recitation"
    EMPTY = "empty"
    """No candidate at all."""


@dataclass(frozen=True)
class FaultRates:
    """Shares of answers, each in [0, 1]. The defaults are the rates of the recorded pipeline for gemini-2.5-flash."""

    missing: float = 0.35
    """The last block is left out: recorded 0.30 to 0.40 for gemini-2.5-flash, about 0.80 for gemini-2.5-pro."""
    missing_after_repair: float = 0.35
    """It is left out again when it is asked for: a repair rescued 0.60 to 0.70 in the recorded pipeline."""
    structured: float = 1 / 3
    """What `missing` is multiplied by where a schema asks for the property; an assumption, nothing was recorded."""
    careless: float = 0.25
    """Valid, and scored below 0.8. Recorded were 0.40 to 0.50 of gemini-2.5-flash's answers accepted: this is what is
    left to explain once missing blocks and the faults below are taken off."""
    malformed: float = 0.03
    """A quote in a block is never closed. Assumed, as are the four that follow: rare, and seen with every model."""
    truncated: float = 0.02
    """The limit on output tokens is reached before the answer ends, by thinking where the model thinks."""
    safety: float = 0.01
    recitation: float = 0.005
    empty: float = 0.005


NO_FAULTS = FaultRates(
    missing=0,
    missing_after_repair=0,
    careless=0,
    malformed=0,
    truncated=0,
    safety=0,
    recitation=0,
    empty=0,
)
_FLASH = FaultRates()
_FLASH_LITE = FaultRates(missing=0.45)
_PRO = FaultRates(missing=0.80, careless=0.05)


def recorded_rates(model: str) -> FaultRates:
    """The rates of the recorded pipeline, by what the model's name holds: pro, flash-lite, else flash."""
    if "flash-lite" in model:
        return _FLASH_LITE
    return _PRO if "pro" in model else _FLASH


@dataclass(frozen=True)
class Faults:
    """What goes wrong with one answer."""

    ending: Ending = Ending.STOP
    missing: bool = False
    careless: bool = False
    malformed: bool = False
    truncated: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The faults, for a count by name."""
        if self.ending is not Ending.STOP:
            return (self.ending.value,)
        return tuple(name for name in ("missing", "careless", "malformed", "truncated") if getattr(self, name))


def draw_faults(rates: FaultRates, random: Random, *, repair: bool, structured: bool) -> Faults:
    """The faults of one answer. A repair only ever lacks what was asked for, so that its rate is the recorded one."""
    ending, missing, careless, malformed, truncated = (random.random() for _ in range(5))
    scale = rates.structured if structured else 1.0
    if repair:
        return Faults(missing=missing < rates.missing_after_repair * scale)
    return Faults(
        ending=_ending(rates, ending),
        missing=missing < rates.missing * scale,
        careless=careless < rates.careless,
        malformed=malformed < rates.malformed,
        truncated=truncated < rates.truncated,
    )


def _ending(rates: FaultRates, drawn: float) -> Ending:
    for ending, rate in (
        (Ending.SAFETY, rates.safety),
        (Ending.RECITATION, rates.recitation),
        (Ending.EMPTY, rates.empty),
    ):
        if drawn < rate:
            return ending
        drawn -= rate
    return Ending.STOP


_BLOCK = re.compile(r"^```[^\n`]*\n.*?^```[ ]*$\n?", re.MULTILINE | re.DOTALL)
# A line's value: in double quotes, or plain.
_VALUE = re.compile(r"^ *(?:- )?(?:[\w -]+: )?(?:(\"[^\n\"]+)\"|([^\s\"'|>\[{`][^\n\"]*[^\s\":]))$", re.MULTILINE)
_JSON_VALUE = re.compile(r'(?<=": ")|(?<=":")')
_NOTHING = "What I wrote before stands as it is."


def without_last_block(text: str) -> str:
    """The text without its last fenced block; a text without any is left alone, one without more becomes a sentence."""
    blocks = list(_BLOCK.finditer(text))
    if not blocks:
        return text
    last = blocks[-1]
    return (text[: last.start()] + text[last.end() :]).strip() or _NOTHING


def without_last_property(text: str) -> str:
    """A JSON object without its last property; what is no object is left alone."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if not isinstance(value, dict) or not value:
        return text
    value.popitem()
    return json.dumps(value, ensure_ascii=False, indent=1 if "\n" in text else None)


def with_open_quote(text: str, random: Random) -> str:
    """The text with a quote in one of its blocks, or in its JSON, that is never closed."""
    if text.lstrip().startswith("{"):
        places = [match.start() for match in _JSON_VALUE.finditer(text)]
        if not places:
            return text.rstrip()[:-1]
        place = random.choice(places)
        return text[: place - 1] + text[place:]
    values = [match for block in _BLOCK.finditer(text) for match in _VALUE.finditer(text, block.start(), block.end())]
    if not values:
        return text
    chosen = random.choice(values)
    if chosen[1]:
        return text[: chosen.end(1)] + text[chosen.end(1) + 1 :]
    return text[: chosen.start(2)] + '"' + text[chosen.start(2) :]


def cut_off(text: str, random: Random) -> str:
    """The first part of a text: 30 to 90 % of it."""
    return text[: int(len(text) * random.uniform(0.3, 0.9))].rstrip()
