"""Exact and near overlap of keys, against comparing with every key."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from stillhouse.dataset.contamination import ContaminationIndex, tokens

WORDS = st.lists(st.sampled_from("abcdefgh"), max_size=8).map(" ".join)


def near_by_brute_force(keys: set[str], key: str, threshold: float) -> set[str]:
    words = tokens(key)
    found = set()
    for other in keys - {key}:
        union = words | tokens(other)
        if union and Fraction(len(words & tokens(other)), len(union)) >= Fraction(repr(threshold)):
            found.add(other)
    return found


@given(st.sets(WORDS, max_size=30), st.lists(WORDS, max_size=10), st.sampled_from([0.3, 0.5, 0.6, 0.75, 0.8, 0.9, 1.0]))
def test_near_keys_are_those_that_comparing_with_every_key_finds(keys, searched, threshold) -> None:
    index = ContaminationIndex(keys, near=threshold)
    for key in searched:
        found = index.near(key)
        assert {near.key for near in found} == near_by_brute_force(keys, key, threshold)
        assert len(found) == len({near.key for near in found})
        assert [near.similarity for near in found] == sorted((near.similarity for near in found), reverse=True)
        assert index.has(key) == (key in keys)


def test_a_word_more_in_eight_is_near_and_half_is_not() -> None:
    index = ContaminationIndex(["a loan platform for small teams in spain now"])
    assert [near.similarity for near in index.near("a loan platform for small teams in spain")] == [8 / 9]
    assert index.near("a loan platform for big banks and insurers") == []


def test_a_similarity_of_exactly_the_threshold_is_near() -> None:
    assert len(ContaminationIndex(["a b c d e"]).near("a b c d")) == 1


def test_a_key_is_not_near_itself_and_no_words_are_near_nothing() -> None:
    index = ContaminationIndex(["a b", "", "!"])
    assert index.near("a b") == []
    assert index.near("?") == []
    assert index.has("")


class Counting(ContaminationIndex):
    """Counts the keys that it compares."""

    compared = 0

    def _similarity(self, first: frozenset[str], second: frozenset[str]) -> float | None:
        self.compared += 1
        return super()._similarity(first, second)


def test_a_search_among_alike_keys_compares_few_of_them() -> None:
    random = Random(7)
    words = [f"word{number}" for number in range(3000)]
    template = "platform for teams in region targeting operations with emphasis on "
    held_out = [template + " ".join(random.sample(words, 5)) for _ in range(1000)]
    index = Counting(held_out)
    found = sum(bool(index.near(template + " ".join(random.sample(words, 5)))) for _ in range(2_000))
    assert found < 20
    assert index.compared < 0.02 * 2_000 * len(index)
