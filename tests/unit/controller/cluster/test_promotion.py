"""Which model is served: a table of cases, and no two Distillations that swap for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.controller.cluster.promotion import Candidate, decide
from stillhouse.dataset.paired import PairedDifference
from stillhouse.errors import FailedPrecondition

BETTER = PairedDifference(rows=50, mean=0.05, low=0.01, high=0.09, wins=40, ties=0, losses=10)
NOT_SURELY = PairedDifference(rows=50, mean=0.05, low=-0.01, high=0.11, wins=30, ties=0, losses=20)
EQUAL = PairedDifference(rows=50, mean=0.0, low=0.0, high=0.0, wins=0, ties=50, losses=0)
WORSE = PairedDifference(rows=50, mean=-0.05, low=-0.09, high=-0.01, wins=10, ties=0, losses=40)
OLD = Candidate("a" * 64, "old", "rows", 100.0, served_because="it is the first")
NEW = Candidate("b" * 64, "new", "rows", 200.0)
A, B, C = (digit * 64 for digit in "abc")


@pytest.mark.parametrize(
    ("candidate", "served", "policy", "pins", "difference", "model", "takes_over", "reason"),
    [
        # Nothing to say, and the first.
        (None, None, "IfBetter", [], None, "", False, "NoModel"),
        (None, OLD, "IfBetter", [], None, A, False, "NoModel"),
        (NEW, None, "IfBetter", [], None, B, True, "Promoted"),
        (NEW, None, "Always", [], None, B, True, "Promoted"),
        (NEW, None, "Never", [], None, "", False, "NotWanted"),
        (replace(NEW, passed=False), None, "Always", [], None, "", False, "GatesFailed"),
        # Served already, whatever else is so.
        (replace(NEW, model_sha256=A), OLD, "IfBetter", [], None, A, False, "Serving"),
        (replace(OLD, passed=False), OLD, "Never", [], None, A, False, "Serving"),
        # Better, or not surely so.
        (NEW, OLD, "IfBetter", [], BETTER, B, True, "Promoted"),
        (NEW, OLD, "IfBetter", [], NOT_SURELY, A, False, "NotBetter"),
        (NEW, OLD, "IfBetter", [], EQUAL, A, False, "NotBetter"),
        (NEW, OLD, "IfBetter", [], WORSE, A, False, "NotBetter"),
        (replace(NEW, passed=False), OLD, "IfBetter", [], BETTER, A, False, "GatesFailed"),
        # Other rows.
        (replace(NEW, validation_sha256="x"), OLD, "IfBetter", [], BETTER, A, False, "NotComparable"),
        (NEW, OLD, "IfBetter", [], FailedPrecondition("the rows are gone"), A, False, "NotComparable"),
        (replace(NEW, validation_sha256="x"), OLD, "Always", [], None, B, True, "Promoted"),
        # Older, or of the same moment.
        (replace(NEW, evaluated_at=99.0), OLD, "IfBetter", [], BETTER, A, False, "Superseded"),
        (replace(NEW, evaluated_at=100.0), OLD, "Always", [], None, A, False, "Superseded"),
        # Policies.
        (NEW, OLD, "Always", [], None, B, True, "Promoted"),
        (NEW, OLD, "Never", [], BETTER, A, False, "NotWanted"),
        (replace(NEW, passed=False), OLD, "Always", [], None, A, False, "GatesFailed"),
        # Pins.
        (NEW, OLD, "IfBetter", [B, B], None, B, True, "Pinned"),
        (replace(NEW, evaluated_at=1.0, passed=False), OLD, "Never", [B], None, B, True, "Pinned"),
        (NEW, OLD, "Always", [A], None, A, False, "Pinned"),
        (OLD, OLD, "Always", [A], None, A, False, "Pinned"),
        (NEW, OLD, "Always", [C], None, C, False, "Pinned"),
        (None, None, "Always", [C], None, C, False, "Pinned"),
        (NEW, OLD, "Always", [A, B], None, A, False, "PinsDisagree"),
        (NEW, None, "Always", [A, B], None, "", False, "PinsDisagree"),
    ],
)
def test_what_is_served(
    candidate: Candidate | None,
    served: Candidate | None,
    policy: str,
    pins: list[str],
    difference: PairedDifference | FailedPrecondition | None,
    model: str,
    takes_over: bool,
    reason: str,
) -> None:
    def compare(new: Candidate, old: Candidate) -> PairedDifference:
        assert (new, old) == (candidate, served)
        if isinstance(difference, FailedPrecondition):
            raise difference
        assert difference is not None, "nothing was to be compared"
        return difference

    decision = decide(candidate, served, policy=policy, pins=pins, compare=compare)
    assert (decision.model_sha256, decision.takes_over, decision.reason) == (model, takes_over, reason)


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (NOT_SURELY, "difference +0.050, 95 % interval -0.010 to +0.110, 50 rows"),
        (FailedPrecondition("the evaluations are not of the same rows"), "not of the same rows"),
    ],
)
def test_a_refusal_is_said_with_its_figures(difference: PairedDifference | FailedPrecondition, words: str) -> None:
    def compare(_new: Candidate, _old: Candidate) -> PairedDifference:
        if isinstance(difference, FailedPrecondition):
            raise difference
        return difference

    assert words in decide(NEW, OLD, policy="IfBetter", pins=[], compare=compare).message


def test_what_is_served_is_still_served_for_the_reason_it_was() -> None:
    same = replace(OLD, served_because="")
    assert decide(same, OLD, policy="IfBetter", pins=[], compare=lambda *_: BETTER).message == "it is the first"


CANDIDATES = st.builds(
    Candidate,
    model_sha256=st.sampled_from([A, B, C, "d" * 64]),
    evaluation_key=st.just("key"),
    validation_sha256=st.sampled_from(["rows", "others"]),
    evaluated_at=st.integers(1, 4).map(float),
    passed=st.booleans(),
)
WISHES = st.lists(st.tuples(CANDIDATES, st.sampled_from(["IfBetter", "Always", "Never"])), min_size=2, max_size=6)


@settings(max_examples=300, deadline=None)
@given(wishes=WISHES, pins=st.lists(st.sampled_from([A, B]), max_size=2), looks=st.randoms(use_true_random=False))
def test_however_they_are_looked_at_they_come_to_rest(
    wishes: list[tuple[Candidate, str]], pins: list[str], looks: object
) -> None:
    """All compare as better than all others, which no real scores do."""
    served: Candidate | None = None
    changes = 0
    for number in range(6 * len(wishes)):
        candidate, policy = wishes[looks.choice(range(len(wishes)))]  # type: ignore[attr-defined]
        decision = decide(candidate, served, policy=policy, pins=pins, compare=lambda *_: BETTER)
        assert decision.takes_over is (
            decision.model_sha256 == candidate.model_sha256 != (served.model_sha256 if served else "")
        ), number
        if decision.takes_over:
            served, changes = candidate, changes + 1
    assert changes <= 4  # no more than there are moments
