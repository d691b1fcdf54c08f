"""Retries, budgets and prices of `stillhouse generate`, and what its figures say, against an emulator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from cli_leaves import read_rows, run_leaf
from generation_fixture import Desk, logged_answers
from stillhouse.artifacts.answers import AnswerLog
from stillhouse.artifacts.store import Store
from stillhouse.teacher_generator.data_file import FileGeneration
from stillhouse.v1.teacher_pb2 import ModelPrice
from vertex_emulator_process import EmulatorProcess, vertex_emulator


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with vertex_emulator(tmp_path_factory.mktemp("emulator"), "--faults", "recorded", "--latency", "5ms") as server:
        yield server


@pytest.fixture
def desk(tmp_path: Path, emulator: EmulatorProcess, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, emulator, capsys)


def test_what_failed_is_asked_about_again_with_another_model(desk: Desk) -> None:
    desk.generate("--max-records", 40, "--attempts", 1)
    before, letters = desk.data.read_bytes(), read_rows(desk.files.dead_letters)
    calls = len(read_rows(desk.files.calls))
    assert letters
    outcome = desk.retry("--model", "gemini-2.5-flash-lite", "--json")
    assert outcome.code == 0, outcome.err
    assert desk.data.read_bytes().startswith(before)
    added = read_rows(desk.data)[len(before.splitlines()) :]
    left = read_rows(desk.files.dead_letters)
    assert {row["model"] for row in added} == {"gemini-2.5-flash-lite"}
    assert len(added) + len(left) == len(letters)
    assert {row["concept"] for row in added} <= {letter["inputs"]["concept"] for letter in letters}
    assert {answer["model"] for answer in left[0]["answers"]} == {"gemini-2.5-flash", "gemini-2.5-flash-lite"}
    retried = [call for call in read_rows(desk.files.calls)[calls:] if call["retry"]]
    assert {call["model"] for call in retried} == {"gemini-2.5-flash-lite"}
    assert not list(desk.folder.glob("*.retried"))


def test_a_retry_of_the_same_model_makes_fresh_attempts_and_a_resume_undoes_nothing(desk: Desk) -> None:
    desk.generate("--max-records", 40, "--attempts", 1)
    first = len(read_rows(desk.data))
    assert desk.retry().code == 0
    again, left, billed = desk.data.read_bytes(), read_rows(desk.files.dead_letters), desk.billed
    assert len(again.splitlines()) > first
    assert {answer["attempt"] for answer in left[0]["answers"]} == {0, 1}
    calls = sorted(desk.files.calls.read_text().splitlines())
    assert desk.generate("--max-records", 40, "--attempts", 1, "--resume").code == 0
    assert desk.data.read_bytes() == again
    assert {row["concept"] for row in read_rows(desk.files.dead_letters)} == {row["concept"] for row in left}
    assert len(desk.files.calls.read_text().splitlines()) == len(calls)
    assert desk.billed == billed


def test_a_retry_after_a_kill_passes_over_half_a_dead_letter(desk: Desk) -> None:
    desk.generate("--max-records", 40, "--attempts", 1)
    letters = desk.files.dead_letters.read_bytes().splitlines(keepends=True)
    desk.files.dead_letters.write_bytes(b"".join(letters[:3]) + letters[3][:100])
    outcome = desk.retry("--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["attempted"] == 3


def test_nothing_to_retry_is_said(desk: Desk) -> None:
    outcome = desk.retry()
    assert outcome.code == 65
    assert "was not made by stillhouse generate" in outcome.err


def test_a_budget_of_zero_allows_not_one_call(desk: Desk) -> None:
    billed = desk.billed
    outcome = desk.generate("--max-records", 5, "--max-cost-usd", 0)
    assert outcome.code == 65
    assert "--max-cost-usd" in outcome.err
    assert desk.billed == billed
    assert desk.data.read_text() == ""


def test_a_small_budget_is_never_passed_and_more_of_it_goes_on(desk: Desk) -> None:
    limit = 0.06
    outcome = desk.generate("--max-records", 40, "--max-cost-usd", limit)
    assert outcome.code == 65
    assert "raise" in outcome.err
    spent = sum(answer["cost_usd"] for answer in logged_answers(desk.store))
    assert 0 < spent <= limit
    assert 0 < len(read_rows(desk.data)) < 40
    assert desk.generate("--max-records", 40, "--max-cost-usd", limit, "--resume").code == 65
    assert sum(answer["cost_usd"] for answer in logged_answers(desk.store)) <= limit
    whole = desk.folder / "whole.jsonl"
    assert desk.generate("--max-records", 20, "--resume").code == 0
    assert desk.generate("--max-records", 20, output=whole, store=desk.folder / "other").code == 0
    assert desk.data.read_bytes() == whole.read_bytes()


def test_a_model_without_a_price_cannot_keep_a_budget(desk: Desk) -> None:
    outcome = desk.generate("--max-records", 1, "--max-cost-usd", 1, "--model", "nobody-knows")
    assert outcome.code == 65
    assert "nobody-knows is not known" in outcome.err


def test_new_prices_ask_for_no_answer_again_and_leave_recorded_costs(desk: Desk) -> None:
    desk.generate("--max-records", 10)
    billed, costs = desk.billed, sorted(answer["cost_usd"] for answer in logged_answers(desk.store))
    request = desk.files.read_request()
    request.prices.append(
        ModelPrice(model="gemini-2.5-flash", input_per_million_usd=100.0, output_per_million_usd=100.0)
    )
    work = FileGeneration(AnswerLog(Store.open(str(desk.store))), {}, lambda _: None, Event())
    outcome = work.generate(request, desk.concepts, desk.files, resume=False, overwrite=True)
    assert outcome.ledger.records == 10
    assert desk.billed == billed
    assert sorted(answer["cost_usd"] for answer in logged_answers(desk.store)) == costs
    assert outcome.ledger.figures.all_models.cost_usd <= sum(costs) + 1e-9


def test_structured_answers_become_the_same_kind_of_record(desk: Desk) -> None:
    assert desk.generate("--max-records", 5, "--prompt", "structured").code == 0
    rows = read_rows(desk.data)
    assert len(rows) == 5
    assert all(row["response"].startswith("```yaml VISION") for row in rows)


def test_stats_say_what_the_teacher_did(desk: Desk) -> None:
    desk.generate("--max-records", 40)
    outcome = run_leaf(desk.capsys, "dataset", "stats", desk.data, "--target", "5", "--json")
    teacher = outcome.json["teacher"]
    assert teacher["all"]["calls"] == len(read_rows(desk.files.calls))
    assert 0.15 < teacher["by_model"]["gemini-2.5-flash"]["missing_block_rate"] < 0.6
    assert teacher["threshold"] >= 0.8
    assert json.loads(outcome.out)["kept"] == len(read_rows(desk.data))
