"""Which beginnings are to be read for all slots: new ones, and those that so many others have come after."""

from __future__ import annotations

import pytest

from stillhouse.student_inference.shared_prefixes import SHORTEST, SharedPrefixes

SLOTS = 4
A, B = ("a" * SHORTEST, "b" * SHORTEST)


@pytest.fixture
def prefixes() -> SharedPrefixes:
    return SharedPrefixes(SLOTS)


def read(prefixes: SharedPrefixes, shared: str) -> bool:
    """One question: whether its beginning was read for all slots."""
    is_lost = prefixes.ask(shared)
    if is_lost:
        prefixes.hold(shared)
    return is_lost


def test_a_beginning_is_read_once_for_all_that_come(prefixes: SharedPrefixes) -> None:
    assert [read(prefixes, A) for _ in range(20)] == [True] + [False] * 19


def test_two_beginnings_in_turn_are_read_once_each(prefixes: SharedPrefixes) -> None:
    assert [read(prefixes, shared) for shared in [A, B] * 10] == [True, True] + [False] * 18


@pytest.mark.parametrize("other", [B, ""], ids=["another beginning", "nothing shared"])
def test_it_is_read_again_once_there_was_a_question_for_every_slot(prefixes: SharedPrefixes, other: str) -> None:
    for others, again in ((SLOTS - 1, False), (SLOTS, True)):
        read(prefixes, A)
        for _ in range(others):
            read(prefixes, other)
        assert read(prefixes, A) is again


def test_what_was_not_read_is_tried_again(prefixes: SharedPrefixes) -> None:
    assert [prefixes.ask(A) for _ in range(3)] == [True] * 3


def test_what_is_short_is_not_worth_the_prompts_that_are_lost_for_it(prefixes: SharedPrefixes) -> None:
    assert (prefixes.ask(A[1:]), prefixes.ask("")) == (False, False)


def test_no_more_is_remembered_than_there_are_slots(prefixes: SharedPrefixes) -> None:
    for number in range(100):
        read(prefixes, f"{number} {A}")
    assert max(len(prefixes._held), len(prefixes._others)) <= SLOTS


@pytest.mark.parametrize(("others", "again"), [(SLOTS - 1, False), (SLOTS, True)])
def test_who_comes_while_it_is_read_and_does_not_share_it_counts(
    prefixes: SharedPrefixes, others: int, again: bool
) -> None:
    for shared in (A, A, *[""] * others):
        prefixes.ask(shared)
    prefixes.hold(A)
    assert prefixes.ask(A) is again
