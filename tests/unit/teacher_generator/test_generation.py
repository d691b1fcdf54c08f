"""The generation with a scripted asker: which records there are, in which order, whatever the answers' order is."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from threading import Event

import pytest

from generation_fixture import GOOD, POOR, Run, ScriptedAsker, asked_about, concepts, import_stage, logged, stage
from quiz_role import QuizRole
from stillhouse.artifacts.answers import LoggedAnswer
from stillhouse.errors import Cancelled, InvalidArgument, PermissionDenied
from stillhouse.roles.role import Example
from stillhouse.teacher_generator.options import BalanceLimit
from stillhouse.teachers.dialogue import Concept, inputs_digest
from stillhouse.teachers.teacher import Question


def always(text: str = GOOD) -> ScriptedAsker:
    return ScriptedAsker(lambda _: logged(text))


def good_for(*numbers: int) -> ScriptedAsker:
    """Good answers to those concepts, poor ones to all others."""
    wanted = {f"q{number}" for number in numbers}
    return ScriptedAsker(lambda question: logged(GOOD if asked_about(question) in wanted else POOR))


def test_lines_are_in_the_order_of_the_concepts_whatever_order_answers_come_in() -> None:
    shuffled = random.Random(1)

    async def slowly(_: Question) -> LoggedAnswer:
        await asyncio.sleep(shuffled.uniform(0, 0.02))
        return logged(GOOD)

    run = Run([stage(records=40)], {"s": ScriptedAsker(slowly, width=8)}, concepts(60))
    [tally] = run.run()
    assert run.asked == [f"q{number}" for number in range(1, 41)]
    assert (tally.accepted, tally.attempted, tally.ended) == (40, 40, "target reached")


def test_the_same_answers_give_the_same_bytes_however_many_are_asked_at_a_time() -> None:
    def text_with(width: int) -> str:
        run = Run([stage(records=10)], {"s": good_for(*range(1, 60, 2))}, concepts(60))
        run.askers["s"].width = width
        run.run()
        return run.text

    assert text_with(1) == text_with(7) == text_with(50)


def test_a_slow_answer_in_front_keeps_nobody_behind_it_from_asking() -> None:
    others = asyncio.Event()

    async def first_waits(question: Question) -> LoggedAnswer:
        if asked_about(question) == "q1":
            await others.wait()
        elif asked_about(question) == "q20":
            others.set()
        return logged(GOOD)

    run = Run([stage(records=20)], {"s": ScriptedAsker(first_waits, width=4)}, concepts(20))
    run.run()
    assert run.asked == [f"q{number}" for number in range(1, 21)]


def test_no_more_are_asked_about_at_a_time_than_the_asker_is_wide() -> None:
    async def soon(_: Question) -> LoggedAnswer:
        await asyncio.sleep(0.001)
        return logged(GOOD)

    asker = ScriptedAsker(soon, width=5)
    Run([stage()], {"s": asker}, concepts(50)).run()
    assert asker.most_in_flight == 5


def test_the_target_is_reached_exactly_and_surplus_answers_are_waited_for() -> None:
    async def first_is_last(question: Question) -> LoggedAnswer:
        await asyncio.sleep(0.01 if asked_about(question) == "q1" else 0.03)
        return logged(GOOD if asked_about(question) in ("q1", "q4", "q5") else POOR)

    asker = ScriptedAsker(first_is_last, width=8)
    run = Run([stage(records=2)], {"s": asker}, concepts(30))
    run.run()
    assert run.asked == ["q1", "q4"]
    assert asker.kept == len(asker.asked)
    assert asker.in_flight == 0


def test_near_the_target_no_more_are_asked_about_than_it_takes() -> None:
    async def soon(_: Question) -> LoggedAnswer:
        await asyncio.sleep(0.001)
        return logged(GOOD)

    asker = ScriptedAsker(soon, width=16)
    Run([stage(records=20)], {"s": asker}, concepts(100)).run()
    assert len(asker.asked) == 20


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


def test_a_request_to_stop_keeps_what_is_in_flight_and_starts_nothing_more() -> None:
    stopping = Event()

    async def stop_at_seven(question: Question) -> LoggedAnswer:
        if asked_about(question) == "q7":
            stopping.set()
        await asyncio.sleep(0.02)
        return logged(GOOD)

    asker = ScriptedAsker(stop_at_seven, width=4)
    run = Run([stage()], {"s": asker}, concepts(100), stopping=stopping)
    with pytest.raises(Cancelled, match="the same command goes on"):
        run.run()
    assert asker.finished
    assert asker.kept == len(asker.asked) <= 12
    assert run.asked == [f"q{number}" for number in range(1, len(run.asked) + 1)]


def test_a_request_to_stop_is_heard_while_all_answers_come_from_the_log() -> None:
    stopping = Event()
    run = Run(
        [stage()],
        {"s": always()},
        concepts(500),
        stopping=stopping,
        on_progress=lambda tally, _: stopping.set() if tally.attempted == 10 else None,
    )
    with pytest.raises(Cancelled):
        run.run()
    assert len(run.asked) == 10


def test_a_request_to_stop_ends_an_import() -> None:
    stopping = Event()
    stopping.set()
    run = Run([import_stage("recorded")], {}, imported=[{"question": "i", "response": GOOD}], stopping=stopping)
    with pytest.raises(Cancelled):
        run.run()


def test_an_error_of_one_dialogue_settles_earlier_ones_keeps_what_is_in_flight_and_is_raised() -> None:
    async def third_is_refused(question: Question) -> LoggedAnswer:
        if asked_about(question) == "q3":
            raise PermissionDenied("the credential has expired; log in again")
        await asyncio.sleep(0.02)
        return logged(GOOD)

    asker = ScriptedAsker(third_is_refused, width=6)
    run = Run([stage()], {"s": asker}, concepts(50))
    with pytest.raises(PermissionDenied, match="log in again"):
        run.run()
    assert run.asked == ["q1", "q2"]
    assert asker.finished
    assert asker.kept == len(asker.asked) - 1
    assert len(asker.asked) == 6


def test_a_concept_without_requirements_is_completed_before_it_is_asked_about() -> None:
    class Hinting(QuizRole):
        def complete(self, example, *, seed):
            return Example({**example.inputs, "hint": f"hint {seed}"}, {**example.labels, "hinted": "yes"})

    run = Run([stage()], {"s": always()}, concepts(2), role=Hinting())
    run.run()
    assert [(row["hint"], row["hinted"]) for row in run.records] == [("hint 42", "yes")] * 2


def test_a_concept_that_cannot_be_completed_is_named() -> None:
    class Helpless(QuizRole):
        def complete(self, example, *, seed):
            raise InvalidArgument("input 'question' says too little", field="question")

    run = Run([stage()], {"s": always()}, concepts(2), role=Helpless())
    with pytest.raises(InvalidArgument, match="concept 1: input 'question' says too little"):
        run.run()


def test_records_that_are_there_already_gain_no_line_and_count() -> None:
    present = Counter({inputs_digest({"question": f"q{number}"}): 1 for number in (1, 2, 3)})
    run = Run([stage(until=5)], {"s": always()}, concepts(10), present=present)
    [tally] = run.run()
    assert run.asked == ["q4", "q5"]
    assert (tally.accepted, run.ledger.records) == (5, 5)


def test_a_concept_that_a_retry_answered_is_no_dead_letter_again() -> None:
    present = Counter({inputs_digest({"question": "q2"}): 1})
    run = Run([stage()], {"s": good_for(1)}, concepts(3), present=present)
    run.run()
    assert [letter["inputs"]["question"] for letter in run.dead_letters] == ["q3"]


def test_guards_refuse_what_is_generated() -> None:
    asker = ScriptedAsker(lambda _: logged("ANSWER: A FULL ANSWER / COMMENT: loud"))
    run = Run([stage()], {"s": asker}, concepts(1), guards=("shouting",))
    run.run()
    assert run.records == []
    assert run.dead_letters[0]["reason"] == "guard:shouting"


def test_progress_is_told_while_nothing_settles() -> None:
    heard = []

    async def slowly(_: Question) -> LoggedAnswer:
        await asyncio.sleep(0.5)
        return logged(GOOD)

    run = Run(
        [stage(records=1)],
        {"s": ScriptedAsker(slowly)},
        concepts(1),
        on_progress=lambda tally, _: heard.append(tally.attempted),
    )
    run.run()
    assert heard.count(0) >= 2
