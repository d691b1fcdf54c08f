"""Balance targets: at most so many records of a label's value."""

from __future__ import annotations

import pytest

from stillhouse.dataset.balance import Balance, BalanceLimit, checked_limits
from stillhouse.errors import InvalidArgument

SIMPLE = BalanceLimit("tier", "simple", 2)
ALIGNED = BalanceLimit("status", "aligned", 1)


def test_a_record_counts_at_every_limit_it_belongs_to_and_at_none_where_one_is_full() -> None:
    balance = Balance([SIMPLE, ALIGNED])
    both = {"tier": "simple", "status": "aligned"}
    assert balance.take(both) is None
    assert balance.take(both) is ALIGNED
    assert balance.take({"tier": "simple", "status": "misaligned"}) is None
    assert balance.take({"tier": "simple"}) is SIMPLE


def test_records_without_a_limit_are_always_taken() -> None:
    balance = Balance([SIMPLE])
    assert all(balance.take({"tier": "corporate"}) is None for _ in range(5))
    assert balance.full_limit({}) is None


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ([SIMPLE, BalanceLimit("tier", "simple", 3)], "tier=simple twice"),
        ([BalanceLimit("tier", "simple", 0)], "below 1 record"),
    ],
)
def test_limits_that_say_nothing_clear_are_refused(limits: list[BalanceLimit], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        checked_limits(limits)
