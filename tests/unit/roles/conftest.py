"""Recorded rows, where they are present, for the tests of the roles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

RECORDED = Path(__file__).parents[3] / "../shared/data/product_owner"


def _rows(name: str) -> list[dict[str, Any]]:
    path = RECORDED / name
    if not path.exists():
        pytest.skip(f"the recorded data is not at {path}")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def teacher_rows() -> list[dict[str, Any]]:
    return _rows("teacher_records.jsonl")


@pytest.fixture(scope="session")
def validation_rows() -> list[dict[str, Any]]:
    return _rows("validation.jsonl")
