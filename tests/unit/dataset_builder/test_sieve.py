"""Which candidates become records, and at which reason the others leave."""

from __future__ import annotations

import json

import pytest

from quiz_role import QuizRole
from stillhouse.dataset.balance import BalanceLimit
from stillhouse.dataset.importing import read_candidates
from stillhouse.dataset.split import SplitFractions
from stillhouse.dataset_builder.options import BuildOptions
from stillhouse.dataset_builder.sieve import Admitted, Refused, Sieve
from stillhouse.errors import InvalidArgument
from stillhouse.roles.metric_reference import Metric

ROLE = QuizRole()


def sifted(
    *rows: dict[str, object],
    min_score: float = 0.0,
    balance: tuple[BalanceLimit, ...] = (),
    held_out: frozenset[str] = frozenset(),
    metric: Metric = ROLE.score,
) -> list[Admitted | Refused]:
    options = BuildOptions(
        tuple(ROLE.guard_names), min_score, SplitFractions(0.85), 42, 1, 0.0, balance=balance, metric=metric
    )
    sieve = Sieve(ROLE, options, is_held_out=held_out.__contains__)
    lines = [json.dumps({"question": "q", "comment": "c", **row}) for row in rows]
    return [sieve.sift(found) for found in read_candidates(lines, source="rows.jsonl", shape=ROLE)]


def reasons(verdicts: list[Admitted | Refused]) -> list[str]:
    return [verdict.reason if isinstance(verdict, Refused) else "kept" for verdict in verdicts]


def test_a_record_holds_canonical_outputs_their_score_and_labels() -> None:
    (found,) = sifted({"answer": " seven ", "comment": "c", "tier": "x"})
    assert isinstance(found, Admitted)
    assert found.record.outputs == {"answer": "seven", "comment": "c"}
    assert (found.record.score, found.answered_score) == (0.5, 0.7)
    assert found.record.labels == {"tier": "x", "mood": "c"}


def test_a_raw_answer_is_read_and_kept_beside_its_outputs() -> None:
    (found,) = sifted({"response": "ANSWER: four / COMMENT: good"})
    assert isinstance(found, Admitted)
    assert found.record.outputs == {"answer": "four", "comment": "good"}
    assert found.record.response == "ANSWER: four / COMMENT: good"


def test_what_the_role_can_not_read_is_unparsable_with_the_reason() -> None:
    found = sifted({"response": "sorry"}, {"answer": "a", "comment": " "})
    assert reasons(found) == ["unparsable", "unparsable"]
    assert [verdict.details for verdict in found if isinstance(verdict, Refused)] == [
        ("no answer and comment",),
        ("comment is blank",),
    ]


def test_low_scores_and_fired_guards_are_refused_by_name() -> None:
    found = sifted({"answer": "four"}, {"answer": "SHOUTING IT"}, {"answer": "long enough"}, min_score=0.5)
    assert reasons(found) == ["low_score", "shouting", "kept"]


def test_identical_records_are_dropped_and_second_answers_to_one_input_kept() -> None:
    found = sifted({"answer": "one"}, {"answer": "two"}, {"answer": " one"}, {"question": "Q", "answer": "one"})
    assert reasons(found) == ["kept", "kept", "duplicate", "kept"]


def test_contamination_comes_before_every_other_reason() -> None:
    held_out = frozenset({"what is it"})
    found = sifted(
        {"question": "What  IS it", "response": "sorry"},
        {"question": "what is it", "answer": "NO"},
        {"question": "what was it", "answer": "yes"},
        held_out=held_out,
    )
    assert reasons(found) == ["contaminated", "contaminated", "kept"]


def test_surplus_records_of_a_balanced_label_are_set_aside_in_order() -> None:
    found = sifted(
        {"answer": "one", "tier": "x"},
        {"answer": "two", "tier": "y"},
        {"answer": "three", "tier": "x"},
        {"answer": "four", "comment": "d", "tier": "z"},
        balance=(BalanceLimit("tier", "x", 1), BalanceLimit("mood", "d", 1), BalanceLimit("tier", "w", 1)),
    )
    assert reasons(found) == ["kept", "kept", "balance", "kept"]
    assert isinstance(found[2], Refused)
    assert found[2].details == ("tier=x has its 1 records",)


def test_an_own_metric_that_fails_names_the_row() -> None:
    def metric(inputs, outputs):
        raise InvalidArgument("metric failed", field="metric")

    with pytest.raises(InvalidArgument, match=r"rows\.jsonl:1: metric failed"):
        sifted({"answer": "one"}, metric=metric)
