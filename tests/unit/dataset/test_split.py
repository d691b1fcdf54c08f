"""The split by group: exact to a group, independent of order, stable, disjoint."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.dataset.split import SplitFractions, Use, split_groups
from stillhouse.errors import InvalidArgument

HUNDREDTHS = st.integers(1, 99).map(lambda hundredths: hundredths / 100)
GROUPS = st.sets(st.text(max_size=6), max_size=60)


@st.composite
def fractions(draw: st.DrawFn) -> SplitFractions:
    train = draw(st.integers(1, 100))
    validation = draw(st.integers(0, min(99, 100 - train)))
    return SplitFractions(train / 100, validation / 100)


@given(GROUPS, fractions(), st.integers(0, 2**31), st.randoms())
def test_the_order_and_repetition_of_groups_do_not_matter(groups, parts, seed, random) -> None:
    shuffled = [*groups, *list(groups)[:5]]
    random.shuffle(shuffled)
    assert split_groups(shuffled, parts, seed=seed) == split_groups(groups, parts, seed=seed)


@given(GROUPS, fractions(), st.integers(0, 2**31))
def test_every_group_has_one_use_and_counts_are_exact_to_a_group(groups, parts, seed) -> None:
    uses = split_groups(groups, parts, seed=seed)
    assert uses.keys() == groups
    train, validation = Fraction(repr(parts.train)), Fraction(repr(parts.validation))
    wanted = {Use.TRAIN: train, Use.VALIDATION: validation, Use.TUNING: 1 - train - validation}
    counts = {use: sum(value is use for value in uses.values()) for use in Use}
    if all(not fraction or fraction * len(groups) >= 1 for fraction in wanted.values()):
        assert all(abs(counts[use] - wanted[use] * len(groups)) <= 1 for use in Use)
    if len(groups) >= 3:
        assert all((counts[use] > 0) == (wanted[use] > 0) for use in Use)


@given(GROUPS, st.text(max_size=6), fractions(), st.integers(0, 2**31))
def test_one_more_group_moves_at_most_one_other_across_each_border(groups, new, parts, seed) -> None:
    before = split_groups(groups, parts, seed=seed)
    after = split_groups(groups | {new}, parts, seed=seed)
    assert sum(after[group] is not use for group, use in before.items()) <= 2


@given(GROUPS, st.integers(0, 2**31), HUNDREDTHS, HUNDREDTHS)
def test_a_larger_train_fraction_keeps_every_train_group(groups, seed, one, other) -> None:
    small, large = (
        split_groups(groups, SplitFractions(fraction), seed=seed) for fraction in (min(one, other), max(one, other))
    )
    assert all(large[group] is Use.TRAIN for group, use in small.items() if use is Use.TRAIN)


def test_the_split_is_the_same_on_every_machine() -> None:
    uses = split_groups([f"concept {number}" for number in range(10)], SplitFractions(0.7, 0.1), seed=42)
    order = " ".join(group.removeprefix("concept ") for group in uses)
    assert order == "5 7 1 6 2 4 9 0 8 3"
    assert [use.value for use in uses.values()] == [*["train"] * 7, "validation", "tuning", "tuning"]


def test_another_seed_gives_another_split() -> None:
    groups = [str(number) for number in range(100)]
    assert split_groups(groups, SplitFractions(0.5), seed=1) != split_groups(groups, SplitFractions(0.5), seed=2)


@pytest.mark.parametrize(("train", "validation"), [(0.0, 0.0), (1.1, 0.0), (0.5, 0.6), (0.5, -0.1), (float("nan"), 0)])
def test_fractions_out_of_range_are_refused(train: float, validation: float) -> None:
    with pytest.raises(InvalidArgument, match="fraction"):
        SplitFractions(train, validation)


def test_fractions_that_fill_the_whole_leave_nothing_to_tune_on() -> None:
    uses = split_groups([str(number) for number in range(10)], SplitFractions(0.7, 0.3), seed=0)
    assert [sum(value is use for value in uses.values()) for use in Use] == [7, 3, 0]
