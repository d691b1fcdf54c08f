"""Turns what an answer is held to, in any of its four forms, into one checked grammar.

Called by the servicer; every grammar reaches llama.cpp through here. Knows no grpc.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import xllamacpp

from stillhouse.errors import InvalidArgument
from stillhouse.roles.role import load_role
from stillhouse.student_inference.gbnf import Characters
from stillhouse.student_inference.gbnf_check import check_grammar
from stillhouse.student_inference.regex_grammar import regex_to_grammar

MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 32

_LLGUIDANCE = "%llguidance"
PROBE_ANSWER = "~"
"""What an answer to a constraint's probe begins with, exactly if the constraint was taken."""


@dataclass(frozen=True)
class Constraint:
    """A grammar as llama.cpp takes it."""

    grammar: str
    is_json: bool = False
    """A finished answer must parse as JSON."""
    characters: frozenset[Characters] = frozenset()
    """The character sets of a GBNF grammar: llama.cpp aborts the process at a place that no token of its model fits."""
    probe: str = ""
    """A grammar that forces `PROBE_ANSWER` first, to be tried once before this one is relied on; empty: not needed."""


def role_grammar(role: str, inputs: Mapping[str, str]) -> Constraint:
    """The role's grammar for these inputs. Raises InvalidArgument (unknown role, wrong inputs)."""
    return grammar(load_role(role).grammar(inputs))


def grammar(text: str) -> Constraint:
    """GBNF as it was given. Raises InvalidArgument where llama.cpp could not use it."""
    return Constraint(text, characters=check_grammar(text))


def regex(pattern: str) -> Constraint:
    """GBNF for a regular expression; `regex_grammar` documents the subset. Raises InvalidArgument."""
    text = regex_to_grammar(pattern)
    try:
        characters = check_grammar(text)
    except InvalidArgument as exc:
        message = f"the regex cannot be used; as a grammar: {exc.message}"
        raise InvalidArgument(message, field="constraint.regex") from exc
    return Constraint(text, characters=characters)


def json_schema(text: str) -> Constraint:
    """A JSON schema by the engine's own conversion. Raises InvalidArgument.

    References go to the schema itself (`#/...`) only. Where llama.cpp was built with llguidance (the PyPI wheels are),
    a schema that llguidance refuses would be dropped without a word, so such a constraint carries a `probe`.
    """
    schema = _schema(text)
    schema.setdefault("x-guidance", {"whitespace_flexible": False})
    try:
        converted: str = xllamacpp.json_schema_to_grammar(schema)
    except (RuntimeError, ValueError, TypeError) as exc:
        raise _wrong_schema(f"llama.cpp cannot convert it: {exc}") from exc
    if converted.startswith(_LLGUIDANCE):
        return Constraint(converted, is_json=True, probe=converted.replace("start: ", f'start: "{PROBE_ANSWER}" ', 1))
    try:
        characters = check_grammar(converted)
    except InvalidArgument as exc:
        raise _wrong_schema(f"as a grammar: {exc.message}") from exc
    return Constraint(converted, is_json=True, characters=characters)


def _wrong_schema(what: str) -> InvalidArgument:
    return InvalidArgument(f"the JSON schema cannot be used: {what}", field="constraint.json_schema")


def _schema(text: str) -> dict[str, Any]:
    if len(text.encode(errors="replace")) > MAX_SCHEMA_BYTES:
        raise _wrong_schema(f"it has more than {MAX_SCHEMA_BYTES} bytes")
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise _wrong_schema(f"it is not JSON: {exc}") from exc
    if not isinstance(schema, dict):
        raise _wrong_schema("it is not a JSON object")
    _check_schema(schema, 0)
    return schema


def _check_schema(node: object, depth: int) -> None:
    if depth > MAX_SCHEMA_DEPTH:
        raise _wrong_schema(f"it is nested more than {MAX_SCHEMA_DEPTH} deep")
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str) and not reference.startswith("#"):
            raise _wrong_schema(f"$ref {reference!r} leaves the schema")
        pattern = node.get("pattern")
        if isinstance(pattern, str):
            _check_pattern(pattern)
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        _check_schema(child, depth + 1)


def _check_pattern(pattern: str) -> None:
    try:
        regex_to_grammar(pattern)
    except InvalidArgument as exc:
        raise _wrong_schema(f"pattern {pattern[:60]!r}: {exc.message}") from exc
