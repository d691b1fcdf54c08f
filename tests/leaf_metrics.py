"""Metrics as a user would write them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from waiting import wait_until


def half(inputs: Mapping[str, str], outputs: Mapping[str, str]) -> float:
    return 0.5


def held(inputs: Mapping[str, str], outputs: Mapping[str, str]) -> float:
    """1.0; for `Booking page 30` only once the file that STILLHOUSE_TEST_HOLD names is gone."""
    if inputs["concept"] == "Booking page 30":
        hold = Path(os.environ["STILLHOUSE_TEST_HOLD"])
        wait_until(lambda: not hold.exists(), "the hold is released")
    return 1.0


def failing(inputs: Mapping[str, str], outputs: Mapping[str, str]) -> float:
    raise ZeroDivisionError("a bug of the user's")
