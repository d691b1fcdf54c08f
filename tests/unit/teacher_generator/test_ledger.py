"""The ledger's lines, and dead letters gathered and read back."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import pytest

from generation_fixture import GOOD, POOR, logged, write_letters
from quiz_role import QuizRole
from stillhouse.dataset.importing import read_candidates
from stillhouse.errors import InvalidArgument, ResourceExhausted
from stillhouse.teacher_generator.dead_letters import gather_dead_letters, retried_concepts
from stillhouse.teacher_generator.ledger import Ledger, LedgerFiles
from stillhouse.teachers.dialogue import Call, CallKind, Concept, Outcome, inputs_digest
from stillhouse.teachers.judging import Judgement

CONCEPT = Concept(7, {"question": "why?"}, {"tier": "simple", "score": "not the score"})
ACCEPTED = Judgement("", (), 0.9, {"answer": "a full answer", "comment": "good"})
REFUSED = Judgement("low_score", ("0.500 is below 0.8",), 0.5, {"answer": "short", "comment": "poor"})


def accepted(concept: Concept = CONCEPT) -> Outcome:
    calls = (
        Call(CallKind.FIRST, 0, logged("ANSWER: a"), Judgement("missing_block", ("there is no comment",))),
        Call(CallKind.REPAIR, 0, logged(GOOD, extra={"thinking_tokens": "5"}), ACCEPTED),
    )
    return Outcome(concept, calls, ACCEPTED, GOOD, repaired=True)


def refused(concept: Concept = CONCEPT) -> Outcome:
    return Outcome(concept, (Call(CallKind.FIRST, 0, logged(POOR), REFUSED),))


def ledger(**fields) -> tuple[Ledger, tuple[io.StringIO, io.StringIO, io.StringIO]]:
    files = (io.StringIO(), io.StringIO(), io.StringIO())
    return Ledger(QuizRole(), LedgerFiles(*files), **fields), files


def rows(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_has_inputs_outputs_and_what_it_came_from_in_that_order_and_no_label_in_their_place() -> None:
    book, (records, _, _) = ledger()
    book.accept(accepted(), stage="pro", model="gemini-2.5-pro")
    [row] = rows(records)
    assert list(row) == ["question", "answer", "comment", "response", "score", "model", "stage", "repaired", "tier"]
    assert (row["score"], row["model"], row["stage"], row["repaired"]) == (0.9, "gemini-2.5-pro", "pro", True)
    assert (book.records, book.last_score) == (1, 0.9)


def test_a_record_is_read_back_as_what_was_asked_about() -> None:
    book, (records, _, _) = ledger()
    book.accept(accepted(), stage="pro", model="gemini-2.5-pro")
    [candidate] = read_candidates(records.getvalue().splitlines(), source="d", shape=QuizRole())
    assert inputs_digest(candidate.inputs) == inputs_digest(CONCEPT.inputs)


def test_every_call_is_a_line_with_its_kind_reason_tokens_cost_and_time() -> None:
    book, (_, calls, _) = ledger()
    book.accept(accepted(), stage="pro", model="m")
    first, repair = rows(calls)
    assert (first["kind"], first["accepted"], first["reason"]) == ("first", False, "missing_block")
    assert (repair["kind"], repair["accepted"], repair["reason"]) == ("repair", True, "")
    assert (repair["concept"], repair["tier"], repair["stage"], repair["model"]) == (7, "simple", "pro", "m")
    assert (repair["prompt_tokens"], repair["completion_tokens"], repair["thinking_tokens"]) == (10, 20, 5)
    assert (repair["cost_usd"], repair["latency_seconds"]) == (0.001, 1.0)
    assert "retry" not in repair
    assert book.figures.all_models.repairs_accepted == 1


def test_calls_of_a_retry_say_so() -> None:
    book, (_, calls, _) = ledger(is_retry=True)
    book.refuse(refused(), stage="s", model="m", reason="low_score")
    assert rows(calls)[0]["retry"] is True


def test_a_dead_letter_has_its_answers() -> None:
    book, (_, _, letters) = ledger()
    book.refuse(refused(), stage="s", model="m", reason="low_score")
    [letter] = rows(letters)
    assert (letter["concept"], letter["inputs"], letter["reason"]) == (7, {"question": "why?"}, "low_score")
    [answer] = letter["answers"]
    assert (answer["text"], answer["model"], answer["score"], answer["attempt"]) == (POOR, "m", 0.5, 0)
    assert book.figures.dead_letters == 1


def test_an_answer_that_balance_refuses_is_no_dead_letter_and_its_call_says_why() -> None:
    book, (records, calls, letters) = ledger()
    book.refuse(accepted(), stage="s", model="m", reason="balance")
    assert [row["reason"] for row in rows(calls)] == ["missing_block", "balance"]
    assert records.getvalue() == letters.getvalue() == ""


def test_a_record_that_is_there_gains_a_line_only_for_a_further_answer() -> None:
    book, (records, calls, _) = ledger(records=1, present=Counter({inputs_digest(CONCEPT.inputs): 1}))
    book.accept(accepted(), stage="s", model="m")
    assert (records.getvalue(), book.records, len(rows(calls))) == ("", 1, 2)
    book.accept(accepted(), stage="s", model="m")
    assert (len(rows(records)), book.records) == (1, 2)


def test_each_line_is_flushed_whole(tmp_path: Path) -> None:
    with (tmp_path / "r").open("w") as records, (tmp_path / "c").open("w") as calls, (tmp_path / "d").open("w") as dead:
        book = Ledger(QuizRole(), LedgerFiles(records, calls, dead))
        book.accept(accepted(), stage="s", model="m")
        assert (tmp_path / "r").read_text().endswith("}\n")
        assert (tmp_path / "c").read_text().count("\n") == 2


def test_a_full_disk_is_named() -> None:
    with Path("/dev/full").open("w") as full:
        book = Ledger(QuizRole(), LedgerFiles(full, io.StringIO(), io.StringIO()))
        with pytest.raises(ResourceExhausted, match="/dev/full can't be written: No space left"):
            book.accept(accepted(), stage="s", model="m")
        # What could not be written is still in the buffer, and closing would try again.
        full.buffer.raw.close()


def letter(number: int, *, model: str = "m", attempts: int = 1, text: str = POOR) -> dict:
    answers = [{"model": model, "attempt": attempt, "text": f"{text} {attempt}"} for attempt in range(attempts)]
    return {
        "concept": number,
        "inputs": {"question": f"q{number}"},
        "labels": {},
        "stage": model,
        "model": model,
        "reason": "low_score",
        "answers": answers,
    }


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_gathered_letters_leave_out_what_was_answered_since(tmp_path: Path) -> None:
    path = write_letters(tmp_path / "d", letter(1), letter(2), letter(3))
    answered = inputs_digest({"question": "q2"})
    assert gather_dead_letters([path], path, is_answered=lambda digest: digest == answered) == 2
    assert [row["concept"] for row in read(path)] == [1, 3]


def test_a_concept_that_several_models_could_not_answer_is_one_letter_with_all_answers(tmp_path: Path) -> None:
    earlier = write_letters(tmp_path / "e", letter(1, model="pro", attempts=2), letter(2))
    later = write_letters(tmp_path / "d", letter(1, model="flash"))
    assert gather_dead_letters([earlier, later], later, is_answered=lambda _: False) == 2
    first, second = read(later)
    assert [(answer["model"], answer["attempt"]) for answer in first["answers"]] == [
        ("pro", 0),
        ("pro", 1),
        ("flash", 0),
    ]
    assert (first["model"], second["concept"]) == ("flash", 2)


def test_a_retry_goes_on_after_the_attempts_of_its_own_model(tmp_path: Path) -> None:
    path = write_letters(tmp_path / "d", letter(1, model="pro", attempts=2), letter(2, model="flash"))
    found = list(retried_concepts(path, model="pro"))
    assert [(concept.number, concept.attempts_before) for concept in found] == [(1, 2), (2, 0)]


@pytest.mark.parametrize("row", [{}, {"concept": 1}, {**letter(1), "inputs": "q"}, {**letter(1), "answers": [{}]}])
def test_a_line_that_is_no_dead_letter_is_named(tmp_path: Path, row: dict) -> None:
    path = write_letters(tmp_path / "letters.jsonl", letter(1), row)
    with pytest.raises(InvalidArgument, match=r"letters\.jsonl:2 is no dead letter"):
        list(retried_concepts(path, model="m"))
