"""Rules that the API server checks, in CEL, and the few expressions that models share. Used by the models only.

A rule says in CEL what a validator of the same model says in Python. It must hold wherever the validator does: the API
server may let more pass than `stillhouse validate`, never less. An unset field has no default there, so a rule names it
(`default`). https://kubernetes.io/docs/reference/using-api/cel/
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

RULES_KEY = "x-kubernetes-validations"
_RESERVED = frozenset({"break", "const", "continue", "else", "for", "function", "if", "import", "in", "let", "loop"})
"""Words of CEL that a field's name could be."""


@dataclass(frozen=True)
class Rule:
    """What must be true of `self`, and what is said where it is not."""

    rule: str
    message: str


def as_schema(*rules: Rule) -> dict[str, Any]:
    """The rules as a part of a schema."""
    return {RULES_KEY: [{"rule": rule.rule, "message": rule.message} for rule in rules]}


def key_of(model: type[BaseModel], field: str) -> str:
    """A field as CEL selects it."""
    key = model.model_fields[field].alias or field
    return f"__{key}__" if key in _RESERVED else key


def default(model: type[BaseModel], field: str) -> str:
    """The default of a field as a CEL literal."""
    return json.dumps(model.model_fields[field].get_default(call_default_factory=True))


def value(model: type[BaseModel], field: str, of: str = "self") -> str:
    """The value of a field that has a default."""
    return f"{of}.?{key_of(model, field)}.orValue({default(model, field)})"


def at_default(model: type[BaseModel], field: str, of: str = "self") -> str:
    """True where the field is not given or says what holds without it."""
    ours = model.model_fields[field].get_default(call_default_factory=True)
    if ours is None:
        return f"!has({of}.{key_of(model, field)})"
    if isinstance(ours, BaseModel):
        inner = f"{of}.{key_of(model, field)}"
        parts = " && ".join(at_default(type(ours), name, inner) for name in type(ours).model_fields)
        return f"(!has({inner}) || ({parts}))"
    return f"{value(model, field, of)} == {default(model, field)}"


def list_map(key: str) -> dict[str, Any]:
    """A list whose entries are told apart by that key, as a part of its schema."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
