"""Finds inputs that a validation set already holds: exact ones, which are refused, and near ones, which are reported.

Called by dataset_builder and the command line. It sees group keys, never a row.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

NEAR_SIMILARITY = 0.8
"""Token Jaccard from which two keys count as near."""

_TOKEN = re.compile(r"\w+")


@dataclass(frozen=True)
class NearKey:
    """A key of the validation set that is nearly another; `similarity` in [threshold, 1]."""

    key: str
    similarity: float


@dataclass(frozen=True)
class NearPair:
    """A group of the data that is nearly one of the validation set; `similarity` is their token Jaccard."""

    data_key: str
    validation_key: str
    similarity: float


def nearest_pairs(near: Mapping[str, Sequence[NearKey]]) -> tuple[NearPair, ...]:
    """Each key of the data that has near ones, with the nearest; most similar first."""
    pairs = (NearPair(key, found[0].key, found[0].similarity) for key, found in near.items() if found)
    return tuple(sorted(pairs, key=lambda pair: (-pair.similarity, pair.data_key)))


def tokens(key: str) -> frozenset[str]:
    """The distinct words of a normalised key."""
    return frozenset(_TOKEN.findall(key))


class ContaminationIndex:
    """The group keys of a validation set, searchable.

    Near keys are found by prefix filtering (Chaudhuri, Ganti, Kaushik 2006; Bayardo, Ma, Srikant 2007): with tokens
    ordered from rare to frequent, two sets of Jaccard >= t share a token among the first |x| - ceil(t|x|) + 1 of each.
    So a search reads the postings of a few rare tokens, and finds exactly what comparing with every key would.
    """

    def __init__(self, keys: Iterable[str], *, near: float = NEAR_SIMILARITY) -> None:
        """`near` in (0, 1] is the Jaccard similarity from which keys are near."""
        self._threshold = Fraction(repr(near))
        self._tokens = {key: tokens(key) for key in keys}
        self._frequency = Counter(token for found in self._tokens.values() for token in found)
        self._postings: dict[str, list[str]] = defaultdict(list)
        for key in sorted(self._tokens):
            for token in self._prefix(self._tokens[key]):
                self._postings[token].append(key)

    def __len__(self) -> int:
        """Distinct keys."""
        return len(self._tokens)

    def has(self, key: str) -> bool:
        """Whether the validation set holds exactly this key."""
        return key in self._tokens

    def near(self, key: str) -> list[NearKey]:
        """The other keys with a token Jaccard of at least the threshold, most similar first, then by key."""
        wanted = tokens(key)
        seen: set[str] = {key}
        found: list[NearKey] = []
        for token in self._prefix(wanted):
            for other in self._postings.get(token, ()):
                if other in seen:
                    continue
                seen.add(other)
                similarity = self._similarity(wanted, self._tokens[other])
                if similarity is not None:
                    found.append(NearKey(other, similarity))
        return sorted(found, key=lambda near: (-near.similarity, near.key))

    def _prefix(self, words: frozenset[str]) -> list[str]:
        needed = -(-self._threshold.numerator * len(words) // self._threshold.denominator)
        ordered = sorted(words, key=lambda word: (self._frequency[word], word))
        return ordered[: len(words) - needed + 1] if words else []

    def _similarity(self, first: frozenset[str], second: frozenset[str]) -> float | None:
        shared = len(first & second)
        union = len(first) + len(second) - shared
        if shared * self._threshold.denominator < union * self._threshold.numerator:
            return None
        return shared / union
