"""What the data set package needs to know of a role: the names of its fields and how its records group.

Every role satisfies this protocol as it is; callers hand theirs in. Nothing here knows which roles there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class RecordShape(Protocol):
    """Field names of a kind of record, and the key by which records belong together."""

    @property
    def input_fields(self) -> Sequence[str]:
        """Names of the inputs, required ones first."""
        ...

    @property
    def optional_inputs(self) -> frozenset[str]:
        """Those inputs that a row may lack."""
        ...

    @property
    def output_fields(self) -> Sequence[str]:
        """Names of the outputs."""
        ...

    @property
    def group_field(self) -> str:
        """The input that `group_key` normalises."""
        ...

    def group_key(self, inputs: Mapping[str, str]) -> str:
        """The normalised `group_field`; records with equal keys are never divided by a split."""
        ...
