"""What ends an optimisation before its time leaves the best program so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripted_subject import QuizPair, ScriptedSubject, optimized
from stillhouse.artifacts.store import Store
from stillhouse.errors import FailedPrecondition
from stillhouse.optimizer.optimization import Optimized
from stillhouse.optimizer.usage import Limits
from stillhouse.programs.document import program_bytes


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


LIMITS = [
    (Limits(max_calls=30), "max_calls"),
    (Limits(max_total_tokens=450), "max_total_tokens"),
    (Limits(max_cost_usd=3.0), "max_cost_usd"),
    (Limits(max_seconds=30.0), "max_seconds"),
]


def limited(store: Store, limits: Limits, **search: Any) -> Optimized:
    subject = ScriptedSubject(cost_usd=0.1)
    return optimized(store, subject, limits=limits, elapsed_seconds=lambda: float(len(subject.asked)), **search)


@pytest.mark.parametrize(("limits", "name"), LIMITS, ids=[name for _, name in LIMITS])
def test_a_limit_ends_a_run_with_its_best_program_so_far(store: Store, limits: Limits, name: str) -> None:
    run = limited(store, limits, program=QuizPair)
    assert run.found.ended_by == name
    assert run.found.best.score >= run.found.baseline.score
    assert 28 <= run.usage.calls <= 32


@pytest.mark.parametrize(("limits", "name"), LIMITS[:3], ids=[name for _, name in LIMITS[:3]])
def test_a_run_that_a_limit_ended_ends_again_with_the_same_program(store: Store, limits: Limits, name: str) -> None:
    run = limited(store, limits, program=QuizPair)
    assert program_bytes(limited(store, limits, program=QuizPair).program) == program_bytes(run.program)


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(max_calls=7), "max_calls"),
        (Limits(max_total_tokens=60), "max_total_tokens"),
        (Limits(max_cost_usd=0.5), "max_cost_usd"),
        (Limits(max_seconds=3.0), "max_seconds"),
    ],
)
def test_a_limit_before_the_baseline_is_known_has_no_program_to_give(store: Store, limits: Limits, name: str) -> None:
    with pytest.raises(FailedPrecondition, match=f"{name} was reached before .* evaluated on 8 rows; allow more"):
        limited(store, limits)
