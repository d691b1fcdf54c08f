"""Translates a documented subset of regular expressions into GBNF.

Called by `constraint`; llama.cpp offers patterns only inside JSON strings, which come out quoted. Knows no model.

The whole answer matches, as with `re.fullmatch`. Taken: literal characters, `.` (all but a newline), classes with
ranges and `^`, `\\d \\w \\s` (ASCII) and, outside classes, `\\D \\W \\S`, `\\n \\r \\t \\f \\v \\xHH \\uHHHH`, escaped
punctuation, `|`, groups `(...)`, `(?:...)` and `(?P<name>...)`, the quantifiers `* + ? {m} {m,} {m,n}` (lazy ones mean
the same here), and `^` and `$` at the two ends. Everything else is refused by name.
"""

from __future__ import annotations

import re

from stillhouse.errors import InvalidArgument
from stillhouse.student_inference.gbnf import MAX_NESTING

MAX_REGEX_BYTES = 4096

_SETS = {"d": "0-9", "w": "0-9A-Za-z_", "s": " \\t\\n\\r\\x0B\\x0C"}
_CONTROLS = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11}
_QUANTIFIER = re.compile(r"(?:[*+?]|\{[0-9]{1,4}(?:,[0-9]{0,4})?\})\??")
_GROUP = re.compile(r"\((?:\?:|\?P<[A-Za-z_][A-Za-z0-9_]*>)?")


def regex_to_grammar(pattern: str) -> str:
    """GBNF for the pattern. Raises InvalidArgument (field `constraint.regex`) naming the position and the construct."""
    if len(pattern.encode(errors="replace")) > MAX_REGEX_BYTES:
        raise InvalidArgument(f"the regex has more than {MAX_REGEX_BYTES} bytes", field="constraint.regex")
    return f"root ::= {_Translator(pattern).translate()}\n"


class _Translator:
    """A cursor over the pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 1 if pattern.startswith("^") else 0
        self._end = len(pattern)
        if pattern.endswith("$") and (len(pattern) - len(pattern[:-1].rstrip("\\"))) % 2 == 1:
            self._end -= 1

    def translate(self) -> str:
        expression = self._choice(0)
        if self._at < self._end:
            raise self._error("')' without '('")
        return expression

    def _error(self, what: str) -> InvalidArgument:
        return InvalidArgument(f"regex, position {self._at}: {what}", field="constraint.regex")

    def _peek(self) -> str:
        return self._pattern[self._at] if self._at < self._end else ""

    def _choice(self, depth: int) -> str:
        if depth >= MAX_NESTING - 1:
            raise self._error(f"more than {MAX_NESTING - 2} nested groups")
        options = [self._sequence(depth)]
        while self._peek() == "|":
            self._at += 1
            options.append(self._sequence(depth))
        return " | ".join(options)

    def _sequence(self, depth: int) -> str:
        items: list[str] = []
        while self._peek() not in ("", "|", ")"):
            item = self._item(depth)
            match = _QUANTIFIER.match(self._pattern, self._at, self._end)
            if match is not None:
                self._at = match.end()
                text = match.group()
                item += text[:-1] if len(text) > 1 and text.endswith("?") else text
                if self._peek() and self._peek() in "*+?{":
                    raise self._error("two quantifiers in a row")
            items.append(item)
        return " ".join(items) if items else '""'

    def _item(self, depth: int) -> str:
        character = self._peek()
        if character == "(":
            return self._group(depth)
        if character == "[":
            return self._class()
        self._at += 1
        if character == ".":
            return "[^\\n]"
        if character == "\\":
            return self._escape_outside()
        if character in "*+?{":
            raise self._error(f"{character!r} has nothing to repeat; write \\{character} for the character")
        if character in "^$":
            raise self._error(f"{character!r} is taken only at the end of the pattern where it belongs")
        return f'"{_literal(ord(character))}"'

    def _group(self, depth: int) -> str:
        match = _GROUP.match(self._pattern, self._at, self._end)
        opening = match.group() if match else "("
        self._at += len(opening)
        if self._peek() == "?":
            raise self._error("look-around, conditions, comments and flags are not taken")
        inner = self._choice(depth + 1)
        if self._peek() != ")":
            raise self._error("')' expected")
        self._at += 1
        return f"({inner})"

    def _escape_outside(self) -> str:
        kind = self._peek()
        if kind.lower() in _SETS and kind:
            self._at += 1
            return f"[{'^' if kind.isupper() else ''}{_SETS[kind.lower()]}]"
        return f'"{_literal(self._escaped_code())}"'

    def _escaped_code(self) -> int:
        """The character after a backslash, which is already behind the cursor."""
        kind = self._peek()
        digits = {"x": 2, "u": 4}.get(kind)
        if digits is not None:
            text = self._pattern[self._at + 1 : min(self._at + 1 + digits, self._end)]
            if re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", text) is None:
                raise self._error(f"\\{kind} needs {digits} hexadecimal digits")
            self._at += 1 + digits
            return int(text, 16)
        if kind in _CONTROLS:
            self._at += 1
            return _CONTROLS[kind]
        if not kind or kind.isalnum():
            raise self._error(f"\\{kind} is not taken (back references, word borders and Unicode classes are not)")
        self._at += 1
        return ord(kind)

    def _class(self) -> str:
        self._at += 1
        parts = ["^"] if self._peek() == "^" else []
        self._at += len(parts)
        first_place = self._at
        while self._peek() != "]" or self._at == first_place:
            parts.append(self._class_part())
        self._at += 1
        return f"[{''.join(parts)}]"

    def _class_part(self) -> str:
        first = self._class_code()
        if isinstance(first, str):
            return first
        following = self._pattern[self._at + 1 : self._at + 2]
        if self._peek() != "-" or following == "]":
            return _class_character(first)
        self._at += 1
        last = self._class_code()
        if isinstance(last, str) or last < first:
            raise self._error("a range goes from the smaller character to the larger")
        return f"{_class_character(first)}-{_class_character(last)}"

    def _class_code(self) -> int | str:
        """A character's code, or the members of `\\d`, `\\w`, `\\s`."""
        character = self._peek()
        if not character:
            raise self._error("']' expected")
        self._at += 1
        if character != "\\":
            return ord(character)
        kind = self._peek()
        if kind and kind in _SETS:
            self._at += 1
            return _SETS[kind]
        return self._escaped_code()


def _literal(code: int) -> str:
    """A character inside GBNF's double quotes."""
    return chr(code) if 32 <= code < 127 and code not in b'"\\' else _hex(code)


def _class_character(code: int) -> str:
    """A character inside GBNF's square brackets; all but letters and digits escaped."""
    return chr(code) if code < 128 and chr(code).isalnum() else _hex(code)


def _hex(code: int) -> str:
    return f"\\x{code:02X}" if code < 256 else f"\\u{code:04X}" if code < 65536 else f"\\U{code:08X}"
