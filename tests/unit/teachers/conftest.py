"""What tests of a paid teacher are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripted_teacher import VirtualClock
from stillhouse.artifacts.answers import AnswerLog
from stillhouse.artifacts.store import Store


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def log(tmp_path: Path) -> AnswerLog:
    return AnswerLog(Store.open(f"memory://{tmp_path}"))
