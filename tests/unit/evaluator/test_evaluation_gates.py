import pytest

from stillhouse.errors import InvalidArgument
from stillhouse.evaluator.gates import FIGURES, Comparison, check_gates, decide, gap
from stillhouse.v1.evaluator_pb2 import Evaluation, Gate
from stillhouse.v1.record_pb2 import ScoreStatistics

EVALUATION = Evaluation(
    scores=ScoreStatistics(count=4, mean=0.8, min=0.5),
    valid_rate=0.85,
    guard_rate=0.95,
    median_seconds=9.5,
)
COMPARISON = Comparison(reference_score=0.9, base_mean=0.7)


def verdict(gate: Gate) -> tuple[bool, str]:
    (result,) = decide([gate], EVALUATION, COMPARISON)
    return result.passed, result.reason


@pytest.mark.parametrize(
    ("gate", "passed", "reason"),
    [
        (Gate(figure="score_mean", min=0.75), True, "score_mean 0.8 is at least 0.75"),
        (Gate(figure="score_mean", min=0.81), False, "score_mean 0.8 is below 0.81"),
        (Gate(figure="score_min", min=0.5), True, "score_min 0.5 is at least 0.5"),
        (Gate(figure="gap", max=0.1), False, "gap 0.1111 is above 0.1"),
        (Gate(figure="gap", max=0.2), True, "gap 0.1111 is at most 0.2"),
        (Gate(figure="valid_rate", min=0.9), False, "valid_rate 0.85 is below 0.9"),
        (Gate(figure="guard_rate", min=0.9), True, "guard_rate 0.95 is at least 0.9"),
        (Gate(figure="median_seconds", max=10), True, "median_seconds 9.5 is at most 10"),
        (Gate(figure="margin_over_base", min=0), True, "margin_over_base 0.1 is at least 0"),
        (Gate(figure="margin_over_base", min=0.2), False, "margin_over_base 0.1 is below 0.2"),
    ],
)
def test_every_gate_passes_or_fails_with_its_reason(gate: Gate, passed: bool, reason: str) -> None:
    assert verdict(gate) == (passed, reason)


def test_there_is_a_verdict_for_every_figure_that_a_gate_may_name() -> None:
    gates = [Gate(figure=figure, min=-1.0) for figure in FIGURES]

    assert [result.passed for result in decide(gates, EVALUATION, COMPARISON)] == [True] * len(FIGURES)


@pytest.mark.parametrize(
    ("gate", "comparison", "words"),
    [
        (Gate(figure="beauty", min=1), COMPARISON, "no figure 'beauty'"),
        (Gate(figure="score_mean"), COMPARISON, "one of min and max"),
        (Gate(figure="score_mean", min=0.1, max=0.2), COMPARISON, "one of min and max"),
        (Gate(figure="score_mean", min=float("nan")), COMPARISON, "finite"),
        (Gate(figure="gap", max=0.1), Comparison(base_mean=0.5), "reference"),
        (Gate(figure="margin_over_base", min=0), Comparison(reference_score=0.9), "baseline"),
    ],
)
def test_a_gate_that_cannot_be_decided_is_refused(gate: Gate, comparison: Comparison, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        check_gates([gate], comparison)


def test_the_gap_is_relative_to_the_reference() -> None:
    assert gap(0.81, 0.9) == pytest.approx(0.1)


def test_without_a_reference_the_gap_is_zero() -> None:
    assert gap(0.81, None) == 0.0
