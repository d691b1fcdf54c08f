"""Types of the spec's leaves: decimals as strings, names, sources. Used by the models only."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from stillhouse.spec.cel import Rule, as_schema

DECIMAL_PATTERN = r"^[0-9]{1,12}(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?$"


def _decimal_text(value: object) -> object:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise PydanticCustomError(
            "decimal_string", 'decimals are strings here, as Kubernetes wants them: write "{value}"', {"value": value}
        )
    if isinstance(value, str) and not re.fullmatch(DECIMAL_PATTERN, value):
        raise PydanticCustomError(
            "decimal_string", "{value} is no decimal such as 0.85 or 2e-4", {"value": repr(value)}
        )
    return value


def _at_most(bound: int) -> Callable[[str], str]:
    def check(value: str) -> str:
        if Decimal(value) > bound:
            raise PydanticCustomError(
                "decimal_bound", "{value} is not within 0 and {bound}", {"value": value, "bound": bound}
            )
        return value

    return check


_DECIMAL_SCHEMA = {"type": "string", "pattern": DECIMAL_PATTERN, "maxLength": 32}


def _within(bound: int) -> WithJsonSchema:
    """As `_at_most`, and as exact: a quantity rounds up what lies below a billionth, never past a whole bound."""
    rule = f"quantity(self).compareTo(quantity('{bound}')) <= 0"
    return WithJsonSchema(_DECIMAL_SCHEMA | as_schema(Rule(rule, f"it is not within 0 and {bound}")))


DecimalString = Annotated[
    str, BeforeValidator(_decimal_text), StringConstraints(max_length=32), WithJsonSchema(_DECIMAL_SCHEMA)
]
"""A decimal as text: "2e-4". Floats differ from machine to machine and Kubernetes advises against them."""

Fraction = Annotated[DecimalString, AfterValidator(_at_most(1)), _within(1)]
"""A decimal within [0, 1]."""

SWITCHED_OFF = "None"
"""A gate that does not hold. A word, because null is lost on the way through `kubectl apply`."""


def _gate_text(value: object) -> object:
    if value is None:
        raise PydanticCustomError("gate", 'null is lost on the way to a cluster: write "None" to switch a gate off', {})
    return value if value == SWITCHED_OFF else _decimal_text(value)


def _gate_fraction(value: str) -> str:
    return value if value == SWITCHED_OFF else _at_most(1)(value)


_GATE_SCHEMA = {"type": "string", "pattern": rf"^{SWITCHED_OFF}$|{DECIMAL_PATTERN}", "maxLength": 32}
_GATE_RULE = Rule(
    f"self == '{SWITCHED_OFF}' || quantity(self).compareTo(quantity('1')) <= 0", "it is not within 0 and 1"
)

GateBound = Annotated[str, BeforeValidator(_gate_text), StringConstraints(max_length=32), WithJsonSchema(_GATE_SCHEMA)]
"""A DecimalString, or None for a gate that is switched off."""

GateFraction = Annotated[
    GateBound, AfterValidator(_gate_fraction), WithJsonSchema(_GATE_SCHEMA | as_schema(_GATE_RULE))
]
"""A decimal within [0, 1], or None for a gate that is switched off."""

Temperature = Annotated[DecimalString, AfterValidator(_at_most(2)), _within(2)]
"""A decimal within [0, 2]."""

Seconds = Annotated[DecimalString, AfterValidator(_at_most(3600)), _within(3600)]
"""A decimal within [0, 3600]."""

Dollars = Annotated[DecimalString, AfterValidator(_at_most(1_000_000)), _within(1_000_000)]
"""US dollars as a decimal, a million at most."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", max_length=63)]
"""A DNS label, as Kubernetes names are."""

Uri = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
"""A path, a URI (file, s3, gs, az, memory) or an artifact of the store (sha256:HEX)."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", max_length=64)]

Text = Annotated[str, StringConstraints(min_length=1, max_length=256)]

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]


def number(value: str) -> float:
    """The float of a DecimalString."""
    return float(Decimal(value))


def bound(value: str) -> float | None:
    """The float of a GateBound; None for a gate that is switched off."""
    return None if value == SWITCHED_OFF else number(value)
