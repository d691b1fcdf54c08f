"""What a grammar admits, for tests: does it admit a text, and random texts that it admits."""

from __future__ import annotations

import random
from functools import lru_cache

from stillhouse.student_inference.gbnf import Characters, Choice, Node, Reference, Repetition, Sequence, parse_grammar

State = tuple[Node, "State | None"]
"""What to match next, and the rest."""


class Grammar:
    """A grammar that was read."""

    def __init__(self, text: str) -> None:
        self.rules = parse_grammar(text)
        self._closure = lru_cache(maxsize=None)(self._find_closure)

    def accepts(self, text: str) -> bool:
        return self.refused_at(text) is None

    def refused_at(self, text: str) -> int | None:
        """Where the text leaves the grammar (its length, if it ends too early), None if it does not."""
        states = self._closure((Reference("root"), None))
        for index, character in enumerate(text):
            following = set()
            for state in states:
                if state is not None and _admits(state[0], character):
                    following |= self._closure(state[1])
            if not following:
                return index
            states = frozenset(following)
        return None if None in states else len(text)

    def _find_closure(self, state: State | None) -> frozenset[State | None]:
        """The states before a character, or at the end (None), that one reaches."""
        waiting, found = [state], set()
        while waiting:
            now = waiting.pop()
            if now is None or isinstance(now[0], Characters):
                found.add(now)
                continue
            part, rest = now
            if isinstance(part, Reference):
                waiting.append((self.rules[part.name], rest))
            elif isinstance(part, Choice):
                waiting += [(way, rest) for way in part.options]
            elif isinstance(part, Sequence):
                for piece in reversed(part.items):
                    rest = (piece, rest)
                waiting.append(rest)
            else:
                if part.low == 0:
                    waiting.append(rest)
                if part.high != 0:
                    most = None if part.high is None else part.high - 1
                    again = Repetition(part.item, max(part.low - 1, 0), most)
                    waiting.append((part.item, rest if most == 0 else (again, rest)))
        return frozenset(found)

    def sample(self, randomness: random.Random, *, most_repeats: int = 8) -> str:
        """A random text of the grammar; a repetition sometimes goes to its bounds, else to `most_repeats` at most."""
        return self._sample(Reference("root"), randomness, most_repeats)

    def _sample(self, part: Node, randomness: random.Random, most_repeats: int) -> str:
        if isinstance(part, Reference):
            return self._sample(self.rules[part.name], randomness, most_repeats)
        if isinstance(part, Characters):
            return _sample_character(part, randomness)
        if isinstance(part, Choice):
            return self._sample(randomness.choice(part.options), randomness, most_repeats)
        if isinstance(part, Sequence):
            return "".join(self._sample(piece, randomness, most_repeats) for piece in part.items)
        assert part.high is not None, "a text of this grammar may be endless"
        at_bounds = randomness.random() < 0.05
        most = part.high if at_bounds else min(part.high, max(part.low, most_repeats))
        count = randomness.choice((part.low, most)) if at_bounds else randomness.randint(part.low, most)
        return "".join(self._sample(part.item, randomness, most_repeats) for _ in range(count))


def _admits(part: Node, character: str) -> bool:
    return isinstance(part, Characters) and any(low <= ord(character) <= high for low, high in part.ranges)


def _sample_character(characters: Characters, randomness: random.Random) -> str:
    ascii_ranges = [pair for pair in characters.ranges if pair[1] < 0x80]
    ranges = ascii_ranges if ascii_ranges and randomness.random() < 0.7 else characters.ranges
    low, high = randomness.choice(ranges)
    # The ends of a range are where a grammar goes wrong.
    return chr(randomness.choice((low, high, randomness.randint(low, high), randomness.randint(low, high))))
