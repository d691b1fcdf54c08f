"""Figures of a teacher's calls: rates, the threshold for a target, hours and cost of 400 records."""

from __future__ import annotations

import json

import pytest

from stillhouse.dataset.calls import BusyTime, CallFigures, read_calls
from stillhouse.errors import InvalidArgument


def call(
    concept: int = 1, *, score: float | None = 0.9, reason: str = "", kind: str = "first", **fields: object
) -> dict:
    usual = {
        "concept": concept,
        "model": "flash",
        "kind": kind,
        "accepted": not reason,
        "reason": reason,
        "score": score,
        "prompt_tokens": 100,
        "completion_tokens": 200,
        "thinking_tokens": 50,
        "cost_usd": 0.01,
        "latency_seconds": 10.0,
        "asked_at": "2026-01-01T00:00:00+00:00",
    }
    return {**usual, **fields}


def figures(*rows: dict) -> CallFigures:
    return read_calls([json.dumps(row) for row in rows], source="calls.jsonl")


def test_rates_are_of_first_answers_of_repairs_and_of_all_calls() -> None:
    found = figures(
        call(1),
        call(2, score=None, reason="missing_block"),
        call(2, kind="repair"),
        call(3, score=None, reason="missing_block"),
        call(3, score=None, reason="missing_block", kind="repair"),
        call(4, score=0.5, reason="low_score"),
        call(5, score=None, reason="length"),
        call(5, kind="longer"),
    ).as_json()["all"]
    assert found["calls"] == 8
    assert found["accepted"] == 3
    assert found["success_rate"] == pytest.approx(3 / 8)
    assert found["first_success_rate"] == pytest.approx(1 / 5)
    assert found["missing_block_rate"] == pytest.approx(2 / 5)
    assert (found["repairs"], found["repair_success_rate"]) == (2, 0.5)
    assert found["reasons"] == {"length": 1, "low_score": 1, "missing_block": 3}
    assert found["score_mean"] == pytest.approx(0.9)
    assert found["answered_score_mean"] == pytest.approx((3 * 0.9 + 0.5) / 4)
    assert found["calls_per_record"] == pytest.approx(8 / 3)
    assert found["cost_per_record_usd"] == pytest.approx(0.08 / 3)
    assert found["seconds_a_call"] == 10


def test_models_are_counted_apart_and_together() -> None:
    found = figures(call(1, model="pro"), call(2, model="flash"), call(3, model="flash", score=0.1, reason="low_score"))
    assert found.by_model["pro"].calls == 1
    assert found.by_model["flash"].as_json()["success_rate"] == 0.5
    assert found.all_models.calls == 3


def test_nothing_at_all_divides_by_nothing() -> None:
    found = figures().as_json()["all"]
    assert found["calls"] == 0
    for name in ("success_rate", "repair_success_rate", "score_mean", "cost_per_record_usd", "hours_per_400"):
        assert found[name] is None


def test_cost_and_hours_are_scaled_to_400_records() -> None:
    rows = [call(number, asked_at=f"2026-01-01T00:00:{10 * number:02}+00:00") for number in range(4)]
    found = figures(*rows).as_json()["all"]
    assert found["cost_per_400_usd"] == pytest.approx(0.04 * 100)
    assert found["hours_per_400"] == pytest.approx(40 * 100 / 3600)


def test_nights_and_overlaps_do_not_count_as_hours() -> None:
    busy = BusyTime()
    for asked in ("10:00:00", "10:00:05", "10:00:30", "23:00:00", "10:00:02"):
        busy.add(f"2026-01-01T{asked}+00:00", 10)
    assert busy.seconds == 40 + 10


def test_a_call_between_two_spans_joins_them() -> None:
    busy = BusyTime()
    for asked in ("10:00:00", "10:02:00", "10:04:00", "10:01:00"):
        busy.add(f"2026-01-01T{asked}+00:00", 5)
    assert busy.seconds == 125 + 5


def test_the_threshold_for_a_target_is_the_highest_that_as_many_concepts_reach() -> None:
    found = figures(
        *[call(number, score=0.90) for number in range(1, 4)],
        call(4, score=0.77, reason="low_score"),
        call(4, score=0.79, reason="low_score"),
        call(5, score=0.60, reason="low_score"),
        call(6, score=0.99, reason="guard:truncated"),
        call(7, score=None, reason="missing_block"),
    )
    assert [found.threshold_for(records) for records in (1, 3, 4, 5, 6)] == [0.9, 0.9, 0.79, 0.6, None]


@pytest.mark.parametrize(
    "row",
    [{}, call(-1), call(10**12), call(prompt_tokens="many"), call(asked_at="yesterday"), {**call(), "score": "good"}],
)
def test_a_line_that_is_no_call_is_named(row: dict) -> None:
    with pytest.raises(InvalidArgument, match=r"calls.jsonl:2 is no call of a teacher"):
        figures(call(), row)
