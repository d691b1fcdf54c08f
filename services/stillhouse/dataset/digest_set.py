"""A set of 64-bit digests in little memory: for what grows with the records, where Python's set takes 85 bytes each.

Used where inputs or answers are counted once. It must not know what the digests are of.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

_SMALLEST = 1024


class DigestSet:
    """Open addressing with linear probing over one array, at most two thirds full: 12 to 24 bytes a digest.

    A digest is a number within 0 and 2^64 - 1 whose low bits are as good as random. 0 and 1 count as the same.
    """

    def __init__(self, digests: Iterable[int] = ()) -> None:
        """With those digests."""
        self._slots = array("Q", bytes(8 * _SMALLEST))
        self._count = 0
        for digest in digests:
            self.add(digest)

    def __len__(self) -> int:
        """How many digests there are."""
        return self._count

    def __contains__(self, digest: int) -> bool:
        """True if it was added."""
        return self._slots[self._place(digest or 1)] != 0

    def add(self, digest: int) -> bool:
        """Adds a digest; True if it was not there."""
        digest = digest or 1
        place = self._place(digest)
        if self._slots[place]:
            return False
        self._slots[place] = digest
        self._count += 1
        if 3 * self._count > 2 * len(self._slots):
            self._grow()
        return True

    def _place(self, digest: int) -> int:
        mask = len(self._slots) - 1
        place = digest & mask
        while (kept := self._slots[place]) and kept != digest:
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        before = self._slots
        self._slots = array("Q", bytes(16 * len(before)))
        for digest in before:
            if digest:
                self._slots[self._place(digest)] = digest
