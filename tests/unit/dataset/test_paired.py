"""The paired bootstrap: known intervals, the same each time, and nothing where the rows differ."""

from __future__ import annotations

import json
import random
from pathlib import Path
from statistics import NormalDist, fmean, stdev

import pytest

from stillhouse.dataset.paired import paired_difference
from stillhouse.errors import FailedPrecondition

RECORDED = Path(__file__).parents[4] / "shared/data/product_owner/validation.jsonl"


def scores(*values: float) -> dict[str, float]:
    return {f"row-{number:03}": value for number, value in enumerate(values)}


def test_a_difference_that_is_the_same_everywhere_is_sure() -> None:
    found = paired_difference(scores(*[0.75] * 20), scores(*[0.5] * 20))
    assert (found.rows, found.mean, found.low, found.high) == (20, 0.25, 0.25, 0.25)


def test_the_same_scores_differ_by_nothing() -> None:
    same = scores(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    found = paired_difference(same, same)
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)
    assert (found.wins, found.ties, found.losses) == (0, 6, 0)


def test_rows_are_counted_as_better_as_good_and_worse() -> None:
    found = paired_difference(scores(0.9, 0.5, 0.5 + 1e-12, 0.1), scores(0.1, 0.4, 0.5, 0.9))
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)


def test_the_interval_is_that_of_the_normal_distribution_where_that_holds() -> None:
    source = random.Random(1)
    differences = [source.gauss(0.05, 0.1) for _ in range(400)]
    found = paired_difference(scores(*differences), scores(*[0.0] * 400))
    reach = NormalDist().inv_cdf(0.975) * stdev(differences) / 400**0.5
    assert found.mean == pytest.approx(fmean(differences))
    assert found.low == pytest.approx(found.mean - reach, abs=0.1 * reach)
    assert found.high == pytest.approx(found.mean + reach, abs=0.1 * reach)


def test_of_hundred_models_that_are_no_better_few_seem_so() -> None:
    source = random.Random(2)
    seeming = 0
    for _ in range(100):
        noise = scores(*[source.gauss(0, 0.1) for _ in range(50)])
        seeming += paired_difference(noise, scores(*[0.0] * 50)).low > 0
    assert seeming <= 8  # 2.5 on average


def test_it_is_the_same_each_time_in_whatever_order_the_rows_come() -> None:
    source = random.Random(3)
    new, old = scores(*[source.random() for _ in range(30)]), scores(*[source.random() for _ in range(30)])
    found = paired_difference(new, old)
    assert paired_difference(dict(reversed(new.items())), old) == found
    assert paired_difference(new, old, seed=1) != found
    other = paired_difference(old, new)
    assert other.mean == pytest.approx(-found.mean)
    assert other.low == pytest.approx(-found.high, abs=0.02)


@pytest.mark.parametrize(
    ("new", "old", "words"),
    [
        ({}, {}, "0 and 0, 0 in both"),
        ({"a": 1.0}, {}, "1 and 0, 0 in both"),
        ({"a": 1.0}, {"b": 1.0}, "1 and 1, 0 in both"),
        ({"a": 1.0, "b": 1.0}, {"b": 1.0}, "2 and 1, 1 in both"),
    ],
)
def test_other_rows_are_not_compared(new: dict[str, float], old: dict[str, float], words: str) -> None:
    with pytest.raises(FailedPrecondition, match=words):
        paired_difference(new, old)


def test_recorded_scores_tell_a_real_gain_from_a_shuffle() -> None:
    if not RECORDED.is_file():
        pytest.skip(f"the recorded evaluation is not here: {RECORDED.name}")
    rows = [json.loads(line) for line in RECORDED.read_text(encoding="utf-8").splitlines()]
    recorded = {f"{number}": float(row["score"]) for number, row in enumerate(rows)}
    assert len(recorded) == 34
    gain = {row: min(1.0, score + 0.02) for row, score in recorded.items()}
    assert paired_difference(gain, recorded).low > 0
    values = list(recorded.values())
    random.Random(4).shuffle(values)
    shuffled = dict(zip(recorded, values, strict=True))
    assert paired_difference(shuffled, recorded).low <= 0 <= paired_difference(shuffled, recorded).high


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_handful_of_rows_says_nothing_of_others(count: int) -> None:
    found = paired_difference(scores(*[0.9] * count), scores(*[0.1] * count))
    assert (found.rows, found.mean, found.low, found.high) == (count, pytest.approx(0.8), -1.0, 1.0)


def test_of_hundred_models_that_are_no_better_few_seem_so_on_six_rows_too() -> None:
    source = random.Random(5)
    noise = [scores(*[source.gauss(0, 0.1) for _ in range(6)]) for _ in range(100)]
    assert sum(paired_difference(one, scores(*[0.0] * 6)).low > 0 for one in noise) <= 15
