"""A set of 64-bit digests in little memory."""

from __future__ import annotations

import sys
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from stillhouse.dataset.digest_set import DigestSet


@given(st.lists(st.integers(min_value=1, max_value=2**64 - 1)), st.integers(min_value=1, max_value=2**64 - 1))
def test_it_holds_what_a_set_holds(digests: list[int], other: int) -> None:
    small = DigestSet(digests)
    assert len(small) == len(set(digests))
    assert all(digest in small for digest in digests)
    assert (other in small) == (other in set(digests))


def test_adding_says_whether_it_was_new() -> None:
    small = DigestSet()
    assert small.add(7)
    assert not small.add(7)
    assert small.add(2**64 - 1)
    assert small.add(0)
    assert 0 in small


def test_digests_that_fall_on_one_place_are_kept_apart() -> None:
    digests = [(number << 32) | 5 for number in range(1, 400)]
    small = DigestSet(digests)
    assert len(small) == len(digests)
    assert (1000 << 32) | 5 not in small


def test_a_hundred_thousand_digests_take_less_than_a_third_of_a_set() -> None:
    random = Random(1)
    digests = [random.getrandbits(64) or 1 for _ in range(100_000)]
    small = DigestSet(digests)
    plain = set(digests)
    in_a_set = sys.getsizeof(plain) + sum(sys.getsizeof(digest) for digest in plain)
    assert len(small) == len(plain)
    assert 3 * small._slots.itemsize * len(small._slots) < in_a_set
