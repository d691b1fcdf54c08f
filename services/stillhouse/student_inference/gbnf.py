"""Reads GBNF (llama.cpp's grammar language) into a tree, with errors that name the line.

Called by `gbnf_check` before a grammar reaches llama.cpp, whose own parser is recursive without a limit (60,000 opening
brackets overflow its stack), reports to stderr only, and takes NUL bytes for the end. Knows no model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from stillhouse.errors import InvalidArgument

MAX_GRAMMAR_BYTES = 256 * 1024
MAX_NESTING = 64
MAX_REPETITIONS = 2000
"""llama.cpp's own limit on the count of one repetition."""


@dataclass(frozen=True)
class Characters:
    """One character out of a set: inclusive ranges of code points."""

    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Reference:
    """Another rule."""

    name: str


@dataclass(frozen=True)
class Sequence:
    """Items in order; none: the empty text."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """One of the options."""

    options: tuple[Node, ...]


@dataclass(frozen=True)
class Repetition:
    """An item `low` to `high` times; no `high`: without end."""

    item: Node
    low: int
    high: int | None


Node: TypeAlias = Characters | Reference | Sequence | Choice | Repetition

LAST_CODE_POINT = 0x10FFFF
_NAME = re.compile(r"[A-Za-z0-9-]+")
_COUNT = re.compile(r"\{([0-9]+)(?:(,)[ \t]*([0-9]*))?\}")
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_ESCAPES = {"n": 10, "r": 13, "t": 9, "\\": 92, '"': 34, "[": 91, "]": 93}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
_SIMPLE_REPETITIONS: Mapping[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


def parse_grammar(text: str) -> dict[str, Node]:
    """The rules by name. Raises InvalidArgument (field `constraint.grammar`) naming line and cause."""
    if len(text.encode(errors="replace")) > MAX_GRAMMAR_BYTES:
        raise InvalidArgument(f"the grammar has more than {MAX_GRAMMAR_BYTES} bytes", field="constraint.grammar")
    if "\0" in text:
        raise InvalidArgument("the grammar holds a NUL, where llama.cpp would stop reading", field="constraint.grammar")
    reader = _Reader(text)
    rules: dict[str, Node] = {}
    reader.space(lines=True)
    while not reader.at_end():
        name = reader.name()
        reader.space()
        if not reader.take("::="):
            raise reader.error(f"'::=' expected after the rule name {name!r}")
        if name in rules:
            raise reader.error(f"the rule {name!r} is defined twice")
        reader.space(lines=True)
        rules[name] = reader.choice(0)
        if not reader.at_end() and reader.peek() not in "\r\n":
            raise reader.error(f"unexpected {reader.peek()!r}")
        reader.space(lines=True)
    return rules


class _Reader:
    """A cursor over the grammar's text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def error(self, what: str) -> InvalidArgument:
        line = self._text.count("\n", 0, self._at) + 1
        return InvalidArgument(f"grammar, line {line}: {what}", field="constraint.grammar")

    def at_end(self) -> bool:
        return self._at >= len(self._text)

    def peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def take(self, token: str) -> bool:
        if self._text.startswith(token, self._at):
            self._at += len(token)
            return True
        return False

    def space(self, *, lines: bool = False) -> None:
        match = (_SPACE_AND_LINES if lines else _SPACE).match(self._text, self._at)
        self._at = match.end() if match else self._at

    def name(self) -> str:
        match = _NAME.match(self._text, self._at)
        if match is None:
            raise self.error(f"a rule name (letters, digits, '-') expected, found {self.peek()!r}")
        self._at = match.end()
        return match.group()

    def choice(self, depth: int) -> Node:
        if depth > MAX_NESTING:
            raise self.error(f"more than {MAX_NESTING} nested brackets")
        options = [self._sequence(depth)]
        while self.take("|"):
            self.space(lines=True)
            options.append(self._sequence(depth))
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _sequence(self, depth: int) -> Node:
        items: list[Node] = []
        while (begun := self.peek()) and begun not in "|)\r\n":
            if begun in "*+?{":
                if not items:
                    raise self.error(f"{begun!r} has nothing to repeat")
                items[-1] = self._repetition(items[-1])
            else:
                items.append(self._item(begun, depth))
            self.space(lines=depth > 0)
            if depth > 0 and not self.peek():
                raise self.error("')' expected")
        return Sequence(tuple(items))

    def _item(self, begun: str, depth: int) -> Node:
        if begun == '"':
            return self._literal()
        if begun == "[":
            return self._class()
        if begun == "(":
            self._at += 1
            self.space(lines=True)
            inner = self.choice(depth + 1)
            if not self.take(")"):
                raise self.error("')' expected")
            return inner
        if begun == ".":
            self._at += 1
            return Characters(((1, LAST_CODE_POINT),))
        if begun == "<":
            raise self.error("references to single tokens are not accepted")
        return Reference(self.name())

    def _repetition(self, item: Node) -> Node:
        if (simple := _SIMPLE_REPETITIONS.get(self.peek())) is not None:
            self._at += 1
            return Repetition(item, *simple)
        match = _COUNT.match(self._text, self._at)
        if match is None:
            raise self.error("a repetition is written {3}, {3,} or {3,5}")
        low = int(match.group(1)[:9])
        high = low if match.group(2) is None else int(match.group(3)[:9]) if match.group(3) else None
        if max(low, high or 0) > MAX_REPETITIONS or (high is not None and high < low):
            raise self.error(f"a repetition counts from 0 to {MAX_REPETITIONS}, the smaller number first")
        self._at = match.end()
        return Repetition(item, low, high)

    def _literal(self) -> Node:
        self._at += 1
        characters: list[Node] = []
        while not self.take('"'):
            code = self._character('"')
            if code == 0:
                raise self.error("U+0000 is no character that a text can hold")
            characters.append(Characters(((code, code),)))
        return Sequence(tuple(characters))

    def _class(self) -> Node:
        self._at += 1
        negated = self.take("^")
        ranges: list[tuple[int, int]] = []
        while not self.take("]"):
            first = last = self._character("]")
            if self.peek() == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                last = self._character("]")
            if last < first:
                raise self.error(f"the range {chr(first)!r} to {chr(last)!r} is empty")
            ranges.append((first, last))
        allowed = _complement(ranges) if negated else tuple(ranges)
        if not any(first <= last for first, last in allowed):
            raise self.error("a character class that nothing can match")
        return Characters(allowed)

    def _character(self, closing: str) -> int:
        """One character, escapes resolved, of a literal or a class; `closing` is for the message."""
        character = self.peek()
        if not character or character in "\r\n":
            raise self.error(f"{closing!r} expected before the end of the line")
        self._at += 1
        code = self._escape() if character == "\\" else ord(character)
        if 0xD800 <= code <= 0xDFFF or code > LAST_CODE_POINT:
            raise self.error(f"U+{code:04X} is no character that a text can hold")
        return code

    def _escape(self) -> int:
        kind = self.peek()
        self._at += 1
        if kind in _HEX_DIGITS:
            digits = self._text[self._at : self._at + _HEX_DIGITS[kind]]
            if re.fullmatch(r"[0-9a-fA-F]+", digits) is None or len(digits) != _HEX_DIGITS[kind]:
                raise self.error(f"\\{kind} needs {_HEX_DIGITS[kind]} hexadecimal digits")
            self._at += len(digits)
            return int(digits, 16)
        if kind not in _ESCAPES or not kind:
            raise self.error(f"unknown escape \\{kind}")
        return _ESCAPES[kind]


def _complement(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The characters that the ranges leave out; NUL and surrogates are none."""
    left: list[tuple[int, int]] = []
    start = 1
    for first, last in [*sorted([*ranges, (0xD800, 0xDFFF)]), (LAST_CODE_POINT + 1, LAST_CODE_POINT + 1)]:
        if first > start:
            left.append((start, first - 1))
        start = max(start, last + 1)
    return tuple(left)
