"""How evaluations differ from the first of them, by hand and for all scores."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation_documents import evaluation_bytes, result, results
from stillhouse.dataset.paired import paired_difference
from stillhouse.report.differences import Comparison, compare, comparison_document
from stillhouse.report.evaluations import Evaluation, read_evaluation

SCORES = st.floats(min_value=0, max_value=1)
PAIRS = st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=12)


def evaluation(*scores: float) -> Evaluation:
    return read_evaluation(evaluation_bytes(results(*scores)), source="one.json")


def compared(*evaluations: Evaluation) -> Comparison:
    return compare({f"number {number}": one for number, one in enumerate(evaluations)})


def test_wins_ties_and_losses_are_counted_by_row() -> None:
    other = compared(evaluation(0.5, 0.5, 0.5, 0.5), evaluation(0.9, 0.5 + 1e-12, 0.1, 0.6)).others[0]
    assert other.difference is not None
    assert (other.difference.wins, other.difference.ties, other.difference.losses) == (2, 1, 1)
    assert other.difference.mean == pytest.approx(0.025)


def test_the_baseline_has_no_difference_and_the_others_keep_their_order() -> None:
    comparison = compared(evaluation(0.5), evaluation(0.6), evaluation(0.4))
    assert comparison.baseline.name == "number 0"
    assert [one.name for one in comparison.others] == ["number 1", "number 2"]
    assert [one.difference is None for one in comparison.compared] == [True, False, False]


def test_the_same_evaluation_under_two_names_differs_by_nothing() -> None:
    same = evaluation(*[0.5, 0.7] * 3)
    difference = compared(same, same).others[0].difference
    assert difference is not None
    assert (difference.mean, difference.low, difference.high, difference.ties) == (0.0, 0.0, 0.0, 6)


def test_tiers_are_compared_each_by_its_own_rows_in_the_order_of_the_report() -> None:
    comparison = compared(evaluation(*[0.5] * 6), evaluation(0.1, 0.5, 0.9, 0.3, 0.5, 0.7))
    tiers = {tier.tier: tier for tier in comparison.others[0].tiers}
    assert list(tiers) == ["simple", "medium", "corporate"]
    figures = [(tier.mean, tier.difference.mean, tier.difference.wins) for tier in tiers.values() if tier.difference]
    assert figures == [pytest.approx((0.8, 0.3, 2)), pytest.approx((0.5, 0.0, 0)), pytest.approx((0.2, -0.3, 0))]
    assert (tiers["corporate"].valid_rate, tiers["corporate"].guard_rate, tiers["simple"].rows) == (0.0, 1.0, 2)


def test_a_row_that_failed_counts_as_0_and_its_seconds_not_at_all() -> None:
    failed = [result(number, 0.0, failure="cancelled", valid=False, seconds=99.0) for number in range(2)]
    made = read_evaluation(evaluation_bytes([*failed, result(2, 0.5)]), source="one.json")
    comparison = compared(evaluation(0.5, 0.5, 0.5), made)
    difference = comparison.others[0].difference
    assert difference is not None
    assert (difference.losses, difference.ties) == (2, 1)
    seconds = {tier.tier: tier.median_seconds for tier in comparison.others[0].tiers}
    assert seconds == {"simple": pytest.approx(2.2), "medium": None, "corporate": None}


@given(PAIRS)
def test_swapping_two_evaluations_negates_the_difference_and_swaps_wins_and_losses(
    pairs: list[tuple[float, float]],
) -> None:
    ours = {str(number): pair[0] for number, pair in enumerate(pairs)}
    theirs = {str(number): pair[1] for number, pair in enumerate(pairs)}
    there, back = paired_difference(ours, theirs), paired_difference(theirs, ours)
    assert back.mean == -there.mean
    assert (back.low, back.high) == (-there.high, -there.low)
    assert (back.wins, back.ties, back.losses) == (there.losses, there.ties, there.wins)
    assert there.wins + there.ties + there.losses == there.rows == len(pairs)


@given(PAIRS)
def test_the_difference_of_all_rows_is_that_of_the_tiers_weighed_by_their_rows(
    pairs: list[tuple[float, float]],
) -> None:
    other = compared(evaluation(*(pair[0] for pair in pairs)), evaluation(*(pair[1] for pair in pairs))).others[0]
    tiers = [tier.difference for tier in other.tiers if tier.difference is not None]
    assert other.difference is not None
    assert sum(tier.mean * tier.rows for tier in tiers) / len(pairs) == pytest.approx(other.difference.mean, abs=1e-12)
    assert sum(tier.wins for tier in tiers) == other.difference.wins


def test_the_document_says_what_was_done_and_has_null_where_there_is_nothing() -> None:
    teacher = read_evaluation(
        evaluation_bytes(results(0.9, 0.9), teacher="vertex/gemini", cost_usd=0.5), source="one.json"
    )
    made = comparison_document(compare({"base": evaluation(0.5, 0.25), "teacher": teacher}))
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert (made["rows"], made["baseline"], made["validation_sha256"]) == (2, "base", "b" * 64)
    assert made["method"]["fewest_rows"] == 6
    assert (made["method"]["seed"], made["method"]["resamples"], made["method"]["level"]) == (0, 2000, 0.95)
    base, paid = made["evaluations"]
    assert (base["name"], base["cost_usd"], base["difference"], base["program"]) == ("base", None, None, None)
    assert (paid["teacher"], paid["cost_usd_per_row"]) == ("vertex/gemini", 0.25)
    assert paid["difference"]["wins"] == 2
    assert paid["by_tier"]["medium"]["difference"]["mean"] == pytest.approx(0.65)
    assert (paid["by_tier"]["medium"]["std"], paid["by_tier"]["medium"]["min"]) == (0.0, 0.9)
    assert paid["findings"]["gaps"]["f1"] == 1.0


def test_the_document_is_the_same_each_time() -> None:
    one, other = evaluation(0.1, 0.9, 0.3, 0.4), evaluation(0.3, 0.2, 0.8, 0.4)
    assert comparison_document(compared(one, other)) == comparison_document(compared(one, other))


def test_rows_without_tiers_have_none() -> None:
    made = read_evaluation(evaluation_bytes([result(0, 0.5, labels={})]), source="one.json")
    assert compared(made, made).baseline.tiers == ()
