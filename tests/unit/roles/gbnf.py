"""A small reading of GBNF for tests: does a grammar admit a text, and random texts that it admits.

Knows literals, character classes, rule names, groups, alternatives and the repetitions `? * + {m} {m,} {m,n}`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

UNBOUNDED = 1 << 30


@dataclass(frozen=True)
class Characters:
    """One character within `ranges`, or outside them."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool = False

    def admits(self, character: str) -> bool:
        return any(low <= ord(character) <= high for low, high in self.ranges) != self.negated


@dataclass(frozen=True)
class Name:
    rule: str


@dataclass(frozen=True)
class Sequence:
    parts: tuple[object, ...]


@dataclass(frozen=True)
class Choice:
    ways: tuple[object, ...]


@dataclass(frozen=True)
class Repeat:
    part: object
    least: int
    most: int


class Reader:
    """Reads GBNF text into rules; raises ValueError where it can't."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def rules(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for line in self.text.splitlines():
            if not line.strip():
                continue
            name, mark, body = line.partition(" ::= ")
            assert mark, f"no rule: {line[:60]}"
            assert name not in found, f"two rules {name}"
            reader = Reader(body)
            found[name] = reader.choice()
            assert reader.at == len(body), f"{name}: unread {body[reader.at : reader.at + 40]!r}"
        return found

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def space(self) -> None:
        while self.peek() == " ":
            self.at += 1

    def choice(self) -> object:
        ways = [self.sequence()]
        while self.peek() == "|":
            self.at += 1
            ways.append(self.sequence())
        return ways[0] if len(ways) == 1 else Choice(tuple(ways))

    def sequence(self) -> object:
        parts: list[object] = []
        self.space()
        while self.peek() and self.peek() not in "|)":
            parts.append(self.repeated(self.atom()))
            self.space()
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def atom(self) -> object:
        head = self.peek()
        if head == '"':
            self.at += 1
            characters = []
            while self.peek() != '"':
                code = self.code()
                characters.append(Characters(((code, code),)))
            self.at += 1
            return Sequence(tuple(characters))
        if head == "[":
            return self.characters()
        if head == "(":
            self.at += 1
            inner = self.choice()
            if self.peek() != ")":
                raise ValueError(f"no ) at {self.text[self.at : self.at + 30]!r}")
            self.at += 1
            return inner
        start = self.at
        while self.peek().isalnum() or self.peek() == "-":
            self.at += 1
        if start == self.at:
            raise ValueError(f"what is {self.text[self.at : self.at + 30]!r}")
        return Name(self.text[start : self.at])

    def characters(self) -> Characters:
        self.at += 1
        negated = self.peek() == "^"
        self.at += negated
        ranges = []
        while self.peek() != "]":
            low = high = self.code()
            if self.peek() == "-" and self.text[self.at + 1] != "]":
                self.at += 1
                high = self.code()
            if low > high:
                raise ValueError(f"range {low:x}-{high:x} is upside down")
            ranges.append((low, high))
        self.at += 1
        return Characters(tuple(ranges), bool(negated))

    def code(self) -> int:
        head = self.text[self.at]
        self.at += 1
        if head != "\\":
            return ord(head)
        kind = self.text[self.at]
        self.at += 1
        if kind in "xuU":
            digits = {"x": 2, "u": 4, "U": 8}[kind]
            self.at += digits
            return int(self.text[self.at - digits : self.at], 16)
        return {"n": 10, "r": 13, "t": 9, '"': 34, "\\": 92, "[": 91, "]": 93}[kind]

    def repeated(self, part: object) -> object:
        head = self.peek()
        if head and head in "?*+":
            self.at += 1
            return Repeat(part, head == "+", 1 if head == "?" else UNBOUNDED)
        if head != "{":
            return part
        end = self.text.index("}", self.at)
        least, comma, most = self.text[self.at + 1 : end].partition(",")
        self.at = end + 1
        return Repeat(part, int(least), int(most) if most else UNBOUNDED if comma else int(least))


class Grammar:
    """A grammar that was read."""

    def __init__(self, text: str) -> None:
        self.rules = Reader(text).rules()
        self._closure = lru_cache(maxsize=None)(self._find_closure)

    def accepts(self, text: str, *, rule: str = "root") -> bool:
        return self.refused_at(text, rule=rule) is None

    def refused_at(self, text: str, *, rule: str = "root") -> int | None:
        """Where the text leaves the grammar (its length, if it ends too early), None if it does not."""
        states = self._closure((Name(rule), None))
        for index, character in enumerate(text):
            following = set()
            for state in states:
                if state is not None and state[0].admits(character):
                    following |= self._closure(state[1])
            if not following:
                return index
            states = frozenset(following)
        return None if None in states else len(text)

    def _find_closure(self, state: object) -> frozenset[object]:
        """The states before a character, or at the end, that one reaches; a state is (what to match, the rest)."""
        waiting, found = [state], set()
        while waiting:
            now = waiting.pop()
            if now is None or isinstance(now[0], Characters):
                found.add(now)
                continue
            part, rest = now
            if isinstance(part, Name):
                waiting.append((self.rules[part.rule], rest))
            elif isinstance(part, Choice):
                waiting += [(way, rest) for way in part.ways]
            elif isinstance(part, Sequence):
                for piece in reversed(part.parts):
                    rest = (piece, rest)
                waiting.append(rest)
            else:
                if part.least == 0:
                    waiting.append(rest)
                if part.most > 0:
                    again = Repeat(part.part, max(part.least - 1, 0), part.most - 1)
                    waiting.append((part.part, (again, rest) if again.most else rest))
        return frozenset(found)

    def sample(self, randomness: random.Random, *, rule: str = "root", most_repeats: int = 8) -> str:
        """A random text of the grammar; a repetition sometimes goes to its bounds, else to `most_repeats` at most."""
        return self._sample(Name(rule), randomness, most_repeats)

    def _sample(self, part: object, randomness: random.Random, most_repeats: int) -> str:
        if isinstance(part, Name):
            return self._sample(self.rules[part.rule], randomness, most_repeats)
        if isinstance(part, Characters):
            return _sample_character(part, randomness)
        if isinstance(part, Choice):
            return self._sample(randomness.choice(part.ways), randomness, most_repeats)
        if isinstance(part, Sequence):
            return "".join(self._sample(piece, randomness, most_repeats) for piece in part.parts)
        assert isinstance(part, Repeat)
        short = min(part.most, max(part.least, most_repeats))
        at_bounds = randomness.random() < 0.05 and part.most < UNBOUNDED
        count = randomness.choice((part.least, part.most)) if at_bounds else randomness.randint(part.least, short)
        return "".join(self._sample(part.part, randomness, most_repeats) for _ in range(count))


def _sample_character(characters: Characters, randomness: random.Random) -> str:
    assert not characters.negated
    ascii_ranges = [pair for pair in characters.ranges if pair[1] < 0x80]
    ranges = ascii_ranges if ascii_ranges and randomness.random() < 0.7 else characters.ranges
    low, high = randomness.choice(ranges)
    # The ends of a range are where a grammar goes wrong.
    return chr(randomness.choice((low, high, randomness.randint(low, high), randomness.randint(low, high))))
