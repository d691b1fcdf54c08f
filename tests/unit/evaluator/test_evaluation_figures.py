from statistics import pstdev

import pytest

from stillhouse.evaluator.figures import RowResult, evaluation_of, failures_by_reason, score_statistics
from stillhouse.roles.role import GuardFinding

ECHO = GuardFinding("echo", "the answer is the question")


def row(score: float = 1.0, **values: object) -> RowResult:
    return RowResult("id", {}, values.pop("labels", {}), score=score, **values)  # type: ignore[arg-type]


def test_mean_std_median_min_and_max_are_those_of_all_scores() -> None:
    statistics = score_statistics([0.2, 0.4, 0.9])

    assert statistics.count == 3
    assert statistics.mean == pytest.approx(0.5)
    assert statistics.std == pytest.approx(pstdev([0.2, 0.4, 0.9]))
    assert (statistics.median, statistics.min, statistics.max) == (0.4, 0.2, 0.9)


def test_no_scores_give_zeros_instead_of_an_error() -> None:
    assert score_statistics([]).count == 0


def test_valid_rate_is_the_share_of_valid_rows() -> None:
    assert evaluation_of([row(valid=True), row(valid=False), row(valid=True), row(valid=True)]).valid_rate == 0.75


def test_guard_rate_is_the_share_of_rows_without_a_finding_and_findings_are_counted_by_guard() -> None:
    evaluation = evaluation_of([row(), row(guards=(ECHO,)), row(guards=(ECHO,)), row()])

    assert evaluation.guard_rate == 0.5
    assert dict(evaluation.guard_counts) == {"echo": 2}


def test_a_failed_row_counts_with_score_zero_as_not_valid_and_does_not_pass_the_guards() -> None:
    evaluation = evaluation_of([row(valid=True, seconds=2.0), row(0.0, failure="does not fit")])

    assert evaluation.scores.mean == 0.5
    assert evaluation.valid_rate == 0.5
    assert evaluation.guard_rate == 0.5


def test_a_failed_row_does_not_make_the_median_faster() -> None:
    rows = [row(seconds=4.0), row(seconds=6.0), row(0.0, failure="refused"), row(0.0, failure="refused")]

    assert evaluation_of(rows).median_seconds == 5.0
    assert failures_by_reason(rows) == {"refused": 2}


def test_tokens_per_second_are_all_tokens_over_all_seconds() -> None:
    rows = [row(seconds=1.0, completion_tokens=100), row(seconds=3.0, completion_tokens=100)]

    assert evaluation_of(rows).tokens_per_second == 50.0


def test_scores_are_told_apart_by_tier() -> None:
    rows = [row(0.4, labels={"tier": "simple"}), row(0.6, labels={"tier": "simple"}), row(1.0, labels={"tier": "big"})]

    by_tier = evaluation_of(rows).by_tier

    assert by_tier["simple"].mean == pytest.approx(0.5)
    assert by_tier["big"].count == 1


def test_parts_are_means_over_all_rows() -> None:
    rows = [row(parts={"schema": 30.0}), row(parts={"schema": 20.0}), row(0.0, failure="refused")]

    assert evaluation_of(rows).parts["schema"] == pytest.approx(50 / 3)
