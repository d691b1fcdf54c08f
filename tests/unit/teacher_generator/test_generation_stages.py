"""Stages of a generation: targets, imports, balance, concepts that run out, are held out or repeated."""

from __future__ import annotations

from collections import Counter
from threading import Event

import pytest

from generation_fixture import (
    GOOD,
    Run,
    always,
    asked_about,
    concepts,
    good_for,
    import_stage,
    stage,
)
from stillhouse.dataset.balance import BalanceLimit
from stillhouse.errors import Cancelled
from stillhouse.teachers.dialogue import Concept


def test_stages_follow_one_another_and_ask_only_about_what_has_no_record() -> None:
    pro, flash = good_for(*range(1, 400, 5)), always()
    run = Run(
        [stage("pro", records=45, min_score=0.85), stage("flash", until=300)],
        {"pro": pro, "flash": flash},
        concepts(400),
    )
    tallies = run.run()
    assert [(tally.accepted, tally.ended) for tally in tallies] == [(45, "target reached"), (255, "target reached")]
    assert Counter(row["stage"] for row in run.records) == {"pro": 45, "flash": 255}
    assert len(set(run.asked)) == 300
    assert run.asked[:45] == [f"q{number}" for number in range(1, 226, 5)]
    assert run.asked[45:50] == ["q2", "q3", "q4", "q5", "q7"]
    assert not set(flash.questions) & {f"q{number}" for number in range(1, 226, 5)}


def test_an_import_is_a_stage_whose_rows_are_judged_as_answers_are() -> None:
    rows = [
        {"question": "q2", "response": GOOD, "model": "pro", "tier": "simple"},
        {"question": "q3", "answer": "short", "comment": "poor"},
        {"question": "q4", "answer": "long enough", "comment": "fine"},
        {"question": "held", "response": GOOD},
    ]
    run = Run(
        [import_stage("recorded"), stage("m", until=5)],
        {"m": always()},
        concepts(10),
        imported=rows,
        held_out=frozenset({"held"}),
    )
    first, second = run.run()
    assert (first.accepted, first.attempted, first.ended) == (2, 4, "concepts exhausted")
    assert second.accepted == 3
    assert run.asked == ["q2", "q4", "q1", "q3", "q5"]
    assert [row["model"] for row in run.records[:3]] == ["pro", "imported", "m"]
    assert [row["stage"] for row in run.records[:3]] == ["recorded", "recorded", "m"]
    assert run.records[0]["tier"] == "simple"
    assert run.generation.skipped == {"import: low_score": 1, "import: held out": 1}


def test_an_import_stage_ends_at_its_target() -> None:
    rows = [{"question": f"i{number}", "response": GOOD} for number in range(9)]
    run = Run([import_stage("recorded", records=4)], {}, imported=rows)
    [tally] = run.run()
    assert (tally.accepted, tally.ended, run.ledger.records) == (4, "target reached", 4)


def test_a_stage_whose_target_is_reached_already_asks_nobody() -> None:
    asker = always()
    rows = [{"question": f"i{number}", "response": GOOD} for number in range(5)]
    run = Run([import_stage("recorded"), stage("m", until=5)], {"m": asker}, concepts(5), imported=rows)
    assert run.run()[1].ended == "target reached"
    assert asker.asked == []


def test_balance_by_tier_skips_concepts_of_a_full_tier() -> None:
    about = [Concept(n, {"question": f"q{n}"}, {"tier": "simple" if n % 2 else "corporate"}) for n in range(1, 21)]
    asker = always()
    asker.width = 1
    run = Run([stage()], {"s": asker}, about, balance=(BalanceLimit("tier", "simple", 3),))
    run.run()
    assert Counter(row["tier"] for row in run.records) == {"simple": 3, "corporate": 10}
    assert run.generation.skipped == {"balance": 7}
    assert len(asker.asked) == 13


def test_balance_by_status_refuses_answers_of_a_full_status() -> None:
    run = Run([stage()], {"s": always()}, concepts(6), balance=(BalanceLimit("mood", "good", 2),))
    [tally] = run.run()
    assert (tally.accepted, tally.attempted) == (2, 6)
    assert [call["reason"] for call in run.calls] == ["", "", *["balance"] * 4]
    assert run.dead_letters == []


def test_balance_holds_over_stages_and_imports() -> None:
    rows = [{"question": f"i{number}", "response": GOOD} for number in range(3)]
    run = Run(
        [import_stage("recorded"), stage("m")],
        {"m": always()},
        concepts(5),
        imported=rows,
        balance=(BalanceLimit("mood", "good", 2),),
    )
    assert [tally.accepted for tally in run.run()] == [2, 0]


def test_when_the_concepts_run_out_the_stage_stops() -> None:
    run = Run([stage(records=10)], {"s": good_for(1, 2, 3)}, concepts(5))
    [tally] = run.run()
    assert (tally.accepted, tally.attempted, tally.ended) == (3, 5, "concepts exhausted")
    assert [letter["inputs"]["question"] for letter in run.dead_letters] == ["q4", "q5"]


def test_when_the_concepts_run_out_each_gets_a_second_answer_with_another_seed() -> None:
    asker = always()
    run = Run([stage(records=8)], {"s": asker}, concepts(5), second_answers=True)
    [tally] = run.run()
    assert tally.ended == "target reached"
    assert run.asked == ["q1", "q2", "q3", "q4", "q5", "q1", "q2", "q3"]
    seeds = {asked_about(question): [] for question in asker.asked}
    for question in asker.asked:
        seeds[asked_about(question)].append(question.seed)
    assert seeds["q1"] == [42, 1042]


def test_two_answers_each_and_then_it_ends() -> None:
    run = Run([stage(records=100)], {"s": always()}, concepts(5), second_answers=True)
    assert run.run()[0].ended == "concepts exhausted"
    assert len(run.asked) == 10


def test_held_out_concepts_are_never_asked_about() -> None:
    asker = always()
    about = [Concept(1, {"question": "Q  One"}), Concept(2, {"question": "q two"})]
    run = Run([stage()], {"s": asker}, about, held_out=frozenset({"q one"}))
    run.run()
    assert asker.questions == ["q two"]
    assert run.generation.skipped == {"held out": 1}


def test_repeated_concepts_are_asked_about_once_and_counted_once_over_all_stages() -> None:
    asker = good_for(1)
    about = [*concepts(3), *concepts(3)]
    about = [Concept(number, concept.inputs) for number, concept in enumerate(about, start=1)]
    run = Run([stage("s"), stage("t")], {"s": asker, "t": always()}, about)
    run.run()
    assert sorted(asker.questions) == ["q1", "q2", "q3"]
    assert run.generation.skipped == {"repeated": 3}


def test_a_request_to_stop_ends_an_import() -> None:
    stopping = Event()
    stopping.set()
    run = Run([import_stage("recorded")], {}, imported=[{"question": "i", "response": GOOD}], stopping=stopping)
    with pytest.raises(Cancelled):
        run.run()
