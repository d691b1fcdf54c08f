"""Balance targets: at most so many records of a label's value. Used by whoever takes records in, one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stillhouse.errors import InvalidArgument


@dataclass(frozen=True)
class BalanceLimit:
    """At most `max_records` records whose `label` has that `value`."""

    label: str
    value: str
    max_records: int


def checked_limits(limits: Iterable[BalanceLimit]) -> tuple[BalanceLimit, ...]:
    """The limits. Raises InvalidArgument where one is named twice or is below one record."""
    checked = tuple(limits)
    counts = Counter((limit.label, limit.value) for limit in checked)
    for limit in checked:
        if counts[limit.label, limit.value] > 1:
            raise InvalidArgument(f"balance names {limit.label}={limit.value} twice", field="balance")
        if limit.max_records < 1:
            raise InvalidArgument(f"balance of {limit.label}={limit.value} is below 1 record", field="balance")
    return checked


class Balance:
    """Records taken so far, at every limit they belong to."""

    def __init__(self, limits: Iterable[BalanceLimit]) -> None:
        """None taken yet."""
        self._limits = tuple(limits)
        self._taken: Counter[BalanceLimit] = Counter()

    def full_limit(self, labels: Mapping[str, str]) -> BalanceLimit | None:
        """A limit that leaves no room for a record with these labels."""
        full = (limit for limit in self._of(labels) if self._taken[limit] >= limit.max_records)
        return next(full, None)

    def take(self, labels: Mapping[str, str]) -> BalanceLimit | None:
        """Counts a record, unless a limit is full: then it is returned, and nothing counted."""
        full = self.full_limit(labels)
        if full is None:
            self._taken.update(self._of(labels))
        return full

    def _of(self, labels: Mapping[str, str]) -> list[BalanceLimit]:
        return [limit for limit in self._limits if labels.get(limit.label) == limit.value]
