"""Divides records by input group: seeded, independent of order, stable when records are added.

Called by dataset_builder and the command line. It sees group keys, never a row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from stillhouse.errors import InvalidArgument


class Use(StrEnum):
    """What a row is for: to train on, to hold out for the gates, or to choose the best checkpoint by."""

    TRAIN = "train"
    VALIDATION = "validation"
    TUNING = "tuning"


@dataclass(frozen=True)
class SplitFractions:
    """Fractions of the groups, each in [0, 1], together at most 1; what is left goes to tuning."""

    train: float
    validation: float = 0.0

    def __post_init__(self) -> None:
        """Raises InvalidArgument where a fraction is out of range."""
        if not 0 < self.train <= 1:
            raise InvalidArgument(f"train fraction {self.train:g} is not above 0 and at most 1", field="train_fraction")
        if not 0 <= self.validation < 1 or _exact(self.train) + _exact(self.validation) > 1:
            raise InvalidArgument(
                f"validation fraction {self.validation:g} leaves no place beside train fraction {self.train:g};"
                " together they are at most 1",
                field="validation_fraction",
            )


def split_groups(groups: Iterable[str], fractions: SplitFractions, *, seed: int) -> Mapping[str, Use]:
    """The use of every distinct group.

    Groups are ranked by the SHA-256 of seed and key; the first round(train x n) train, the next validate, the rest
    tune. So the counts are exact to a group, the order of arrival does not matter, and one more group moves at most one
    other across each border. Each use with a fraction above 0 gets a group where there are enough.
    """
    ranked = sorted(set(groups), key=lambda group: (_rank(group, seed), group))
    train_end, validation_end = _borders(len(ranked), fractions)
    uses: dict[str, Use] = {}
    for position, group in enumerate(ranked):
        if position < train_end:
            uses[group] = Use.TRAIN
        else:
            uses[group] = Use.VALIDATION if position < validation_end else Use.TUNING
    return uses


def _rank(group: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{group}".encode()).digest()


def _borders(groups: int, fractions: SplitFractions) -> tuple[int, int]:
    train, validation = _exact(fractions.train), _exact(fractions.validation)
    tunes = int(train + validation < 1)
    validates = int(validation > 0)
    train_end = _rounded(train * groups)
    validation_end = _rounded((train + validation) * groups)
    if groups >= 1 + validates + tunes:
        train_end = min(max(train_end, 1), groups - validates - tunes)
        validation_end = min(max(validation_end, train_end + validates), groups - tunes)
    return train_end, validation_end


def _exact(fraction: float) -> Fraction:
    """0.85 as 17/20 and not as its nearest binary fraction."""
    return Fraction(repr(float(fraction)))


def _rounded(value: Fraction) -> int:
    """Half up: Python's round goes to the even neighbour, which would move two groups at once."""
    return int(value + Fraction(1, 2))
