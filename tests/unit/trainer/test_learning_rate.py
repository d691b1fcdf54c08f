from __future__ import annotations

import pytest

from stillhouse.trainer.schedule import learning_rate_at


def rates(schedule: str, warmup_fraction: float = 0.2) -> list[float]:
    return [
        learning_rate_at(step, steps=10, peak=1.0, schedule=schedule, warmup_fraction=warmup_fraction)
        for step in range(10)
    ]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_rate_rises_to_its_peak_in_the_warm_up(schedule: str) -> None:
    assert rates(schedule)[:3] == pytest.approx([0.5, 1.0, 1.0])


def test_cosine_is_half_way_down_in_the_middle_and_near_zero_at_the_end() -> None:
    assert rates("cosine")[6] == pytest.approx(0.5)
    assert 0 < rates("cosine")[9] < 0.04


def test_linear_falls_by_equal_amounts() -> None:
    assert rates("linear")[2:] == pytest.approx([1 - step / 8 for step in range(8)])


def test_constant_stays_at_the_peak() -> None:
    assert rates("constant", 0.0) == [1.0] * 10
