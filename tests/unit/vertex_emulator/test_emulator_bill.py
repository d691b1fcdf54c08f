"""The bill: tokens, dollars, what was billed twice; its log and its file of counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stillhouse.errors import FailedPrecondition
from stillhouse.roles.role import Message
from stillhouse.teachers.prices import Price
from stillhouse.vertex_emulator.answers import EmulatedAnswer
from stillhouse.vertex_emulator.bill import Bill
from stillhouse.vertex_emulator.faults import Ending
from stillhouse.vertex_emulator.prompt import Prompt

ANSWER = EmulatedAnswer("text", Ending.STOP, prompt_tokens=1000, text_tokens=300, thinking_tokens=100)


def price_of(model: str) -> Price | None:
    return {"gemini-2.5-flash": Price(0.30, 2.50)}.get(model)


def prompt(text: str, model: str = "gemini-2.5-flash") -> Prompt:
    return Prompt(model, (Message("user", text),))


def test_tokens_and_dollars_are_counted_by_model() -> None:
    bill = Bill(price_of)
    bill.charge(prompt("a"), ANSWER)
    bill.charge(prompt("b"), ANSWER)
    bill.charge(prompt("a", "gemini-x"), ANSWER)
    counts = bill.snapshot()
    assert (counts["billed_calls"], counts["prompt_tokens"], counts["output_tokens"]) == (3, 3000, 1200)
    assert counts["cost_usd"] == pytest.approx(2 * (1000 * 0.30 + 400 * 2.50) / 1e6)
    assert counts["by_model"]["gemini-x"]["calls"] == 1


def test_a_question_billed_twice_is_named() -> None:
    bill = Bill(price_of)
    for text in ("a", "b", "a", "a"):
        bill.charge(prompt(text), ANSWER)
    counts = bill.snapshot()
    assert counts["billed_twice"] == 1
    assert counts["billed_most"] == [{"digest": prompt("a").digest, "calls": 3}]


def test_the_log_has_a_line_a_call_before_the_call_is_over(tmp_path: Path) -> None:
    log = tmp_path / "bill.jsonl"
    bill = Bill(price_of, log=log)
    for number, text in enumerate(("a", "b"), start=1):
        bill.charge(prompt(text), ANSWER)
        assert len(log.read_text().splitlines()) == number
    bill.close()
    assert json.loads(log.read_text().splitlines()[1])["digest"] == prompt("b").digest


def test_a_restart_goes_on_with_the_log(tmp_path: Path) -> None:
    for _ in range(2):
        bill = Bill(price_of, log=tmp_path / "bill.jsonl")
        bill.charge(prompt("a"), ANSWER)
        bill.close()
    assert len((tmp_path / "bill.jsonl").read_text().splitlines()) == 2


def test_the_file_of_counts_is_there_from_the_start_and_whole_at_the_end(tmp_path: Path) -> None:
    stats = tmp_path / "stats.json"
    bill = Bill(price_of, stats=stats)
    assert json.loads(stats.read_text())["billed_calls"] == 0
    bill.charge(prompt("a"), ANSWER)
    bill.close()
    assert json.loads(stats.read_text())["billed_calls"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["stats.json"]


def test_files_that_can_t_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="--bill-log"):
        Bill(price_of, log=tmp_path / "absent" / "bill.jsonl")
    with pytest.raises(FailedPrecondition, match="--stats"):
        Bill(price_of, stats=tmp_path / "absent" / "stats.json")
