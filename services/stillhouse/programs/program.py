"""What an optimised program is, as values: its tree of modules, and of each predictor all that an optimizer can change.

Everything in this package speaks of these. Knows no DSPy, no file and no role.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

Json = JsonValue
FORMAT: Literal["stillhouse.dev/program/v2"] = "stillhouse.dev/program/v2"
ROOT = "self"
"""The path of the program itself, as DSPy names it."""


@dataclass(frozen=True)
class Field:
    """A field of a signature."""

    name: str
    kind: Literal["input", "output"]
    annotation: str
    """Its type, for a person: str, list[str], the name of a model."""
    schema: Json
    """JSON schema of its type; null where it has none."""
    prefix: str
    description: str


@dataclass(frozen=True)
class Demo:
    """A worked example, with all its fields in their order."""

    fields: Mapping[str, Json]
    typed: tuple[str, ...] = ()
    """Fields whose value is of the signature's type (a model, a date) and is written as its JSON."""
    is_example: bool = False
    """A dspy.Example rather than a plain dict."""
    input_keys: tuple[str, ...] | None = None
    """Which fields an Example calls its inputs, sorted; None where it does not say."""


@dataclass(frozen=True)
class Predictor:
    """A predictor: what it is told, by which examples, and how its model is asked."""

    instructions: str
    fields: tuple[Field, ...]
    """Inputs, then outputs, each in their order."""
    demos: tuple[Demo, ...]
    config: Mapping[str, Json]
    """Settings of its own for every call (temperature, n), without secrets."""
    decisions: Mapping[str, Json]
    """What DSPy keeps for outputs that are decisions: criteria, thresholds."""
    lm: Mapping[str, Json] | None
    """Model and settings of its own language model, without secrets; None where it takes the configured one."""
    prompts_sha256: str
    """`prompts_sha256` of what it sends for the probes."""


@dataclass(frozen=True)
class ModuleNode:
    """A module of the tree, predictors included."""

    kind: str
    """Name of its class."""
    compiled: bool = False
    """Frozen by an optimizer (`_compiled`): DSPy's own walks pass it by."""


@dataclass(frozen=True)
class Program:
    """A whole program; paths are DSPy's names (`inner.steps[0].predict`), in the order of the tree."""

    role: str
    role_version: int
    modules: Mapping[str, ModuleNode]
    predictors: Mapping[str, Predictor]
    probes: tuple[Mapping[str, Json], ...]
    """Inputs for which its prompts are kept as a digest."""
    format: Literal["stillhouse.dev/program/v2"] = FORMAT
