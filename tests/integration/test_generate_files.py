"""`stillhouse generate` and `dataset retry-failed` on files, against an emulator in a process of its own."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli_leaves import read_rows
from generation_fixture import Desk
from vertex_emulator_process import EmulatorProcess, vertex_emulator


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with vertex_emulator(tmp_path_factory.mktemp("emulator"), "--faults", "recorded", "--latency", "5ms") as server:
        yield server


@pytest.fixture
def desk(tmp_path: Path, emulator: EmulatorProcess, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, emulator, capsys)


def test_the_file_has_as_many_lines_as_wanted_in_the_order_of_the_concepts(desk: Desk) -> None:
    outcome = desk.generate("--max-records", 12, "--json")
    assert outcome.code == 0, outcome.err
    rows = read_rows(desk.data)
    order = [row["concept"] for row in read_rows(desk.concepts)]
    places = [order.index(row["concept"]) for row in rows]
    assert places == sorted(places)
    assert len(rows) == 12 == outcome.json["records"]
    assert all(row["score"] >= 0.8 and row["model"] == "gemini-2.5-flash" for row in rows)
    assert outcome.json["ended"] == "target reached"
    assert len(read_rows(desk.files.calls)) == outcome.json["all"]["calls"]
    assert "answered" in desk.files.log.read_text()


def test_an_output_that_is_there_is_refused_and_left_alone(desk: Desk) -> None:
    desk.data.write_text("precious\n")
    outcome = desk.generate("--max-records", 5)
    assert outcome.code == 65
    assert "--resume" in outcome.err
    assert "--overwrite" in outcome.err
    assert desk.data.read_text() == "precious\n"


def test_resume_adds_what_is_missing_and_leaves_what_is_there(desk: Desk) -> None:
    whole = desk.folder / "whole.jsonl"
    desk.generate("--max-records", 15, output=whole, store=desk.folder / "other")
    assert desk.generate("--max-records", 6).code == 0
    before = desk.data.read_bytes()
    assert desk.generate("--max-records", 15, "--resume").code == 0
    assert desk.data.read_bytes().startswith(before)
    assert desk.data.read_bytes() == whole.read_bytes()


def test_resume_without_a_file_starts_one(desk: Desk) -> None:
    assert desk.generate("--max-records", 2, "--resume").code == 0
    assert len(read_rows(desk.data)) == 2


def test_max_records_counts_the_lines_that_are_there(desk: Desk) -> None:
    desk.generate("--max-records", 6)
    before, billed = desk.data.read_bytes(), desk.billed
    for wanted in (6, 3):
        assert desk.generate("--max-records", wanted, "--resume").code == 0
    assert (desk.data.read_bytes(), desk.billed) == (before, billed)


def test_overwrite_pays_for_nothing_again(desk: Desk) -> None:
    desk.generate("--max-records", 40)
    before, billed = desk.data.read_bytes(), desk.billed
    assert desk.generate("--max-records", 40, "--overwrite").code == 0
    assert (desk.data.read_bytes(), desk.billed) == (before, billed)


def test_another_threshold_reuses_every_answer(desk: Desk) -> None:
    desk.generate("--max-records", 40, "--attempts", 1)
    strict, billed = len(read_rows(desk.data)), desk.billed
    assert desk.generate("--max-records", 40, "--attempts", 1, "--min-score", 0.5, "--overwrite").code == 0
    assert len(read_rows(desk.data)) > strict
    assert desk.billed == billed


def test_half_a_last_line_is_cut_off(desk: Desk) -> None:
    desk.generate("--max-records", 5)
    whole = desk.data.read_bytes()
    lines = whole.splitlines(keepends=True)
    desk.data.write_bytes(b"".join(lines[:4]) + lines[4][:100])
    assert desk.generate("--max-records", 5, "--resume").code == 0
    assert desk.data.read_bytes() == whole


def test_a_file_that_is_nothing_but_half_a_line_starts_anew(desk: Desk) -> None:
    desk.data.write_bytes(b'{"concept": "half' + b"x" * 100_000)
    assert desk.generate("--max-records", 2, "--resume").code == 0
    assert len(read_rows(desk.data)) == 2


def test_a_corrupt_line_of_the_data_is_named_and_nothing_is_asked(desk: Desk) -> None:
    desk.generate("--max-records", 2)
    desk.data.write_bytes(desk.data.read_bytes() + b"{broken\n")
    before, billed = desk.data.read_bytes(), desk.billed
    outcome = desk.generate("--max-records", 5, "--resume")
    assert outcome.code == 65
    assert "data.jsonl:3 is not JSON" in outcome.err
    assert (desk.data.read_bytes(), desk.billed) == (before, billed)


def test_a_dry_run_asks_nobody_and_writes_nothing(desk: Desk) -> None:
    billed = desk.billed
    outcome = desk.generate("--max-records", 400, "--dry-run", "--max-cost-usd", 1)
    assert outcome.code == 0, outcome.err
    assert "40 to 100" in outcome.out
    assert "$1.00" in outcome.out
    assert desk.billed == billed
    assert not desk.data.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--provider", "oracle"], "--provider"),
        (["--prompt", "shouted"], "--prompt"),
        (["--guards", "none_such"], "--guards"),
        (["--role", "none_such"], "--role"),
        (["--resume", "--overwrite"], "--resume"),
        (["--max-records", "0"], "--max-records"),
        (["--min-score", "1.5"], "--min-score"),
        (["--output", "events.log"], "--output"),
        (["--output", "."], "--output"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_the_option(desk: Desk, arguments: list[str], said: str) -> None:
    outcome = desk.generate(*arguments)
    assert outcome.code == 2
    assert said in outcome.err
    assert not desk.data.exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_text('{"concept": "A diary"}\n{broken\n'), "concepts.jsonl:2 is not JSON"),
        (lambda path: path.write_text('{"concept": "A diary"}\n{"concept": 3}\n'), "concepts.jsonl:2: field 'concept'"),
        (lambda path: path.write_text('{"idea": "A diary"}\n'), "concepts.jsonl:1: required field 'concept'"),
        (lambda path: path.write_text("\n"), "holds no concept"),
        (lambda path: path.write_bytes(b'{"concept": "\xff"}\n'), "concepts.jsonl:1 is not UTF-8"),
    ],
)
def test_bad_concepts_exit_with_65_before_anything_is_asked_or_written(
    desk: Desk, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(desk.concepts)
    billed = desk.billed
    outcome = desk.generate("--max-records", 5)
    assert outcome.code == 65
    assert said in outcome.err
    assert desk.billed == billed
    assert not desk.data.exists()


def test_the_concepts_are_not_overwritten(desk: Desk) -> None:
    before = desk.concepts.read_bytes()
    outcome = desk.generate("--overwrite", output=desk.concepts)
    assert outcome.code == 65
    assert "name another output" in outcome.err
    assert desk.concepts.read_bytes() == before


def test_a_place_that_cannot_be_written_is_named(desk: Desk) -> None:
    (desk.folder / "file").write_text("")
    outcome = desk.generate("--max-records", 1, output=desk.folder / "file" / "data.jsonl")
    assert outcome.code == 65
    assert "unforeseen" not in outcome.err
    desk.data.mkdir()
    for how in ("--overwrite", "--resume"):
        outcome = desk.generate("--max-records", 1, how)
        assert outcome.code == 65
        assert f"{desk.data} can't be written: Is a directory" in outcome.err


def test_two_at_a_time_do_not_write_the_same_file(desk: Desk) -> None:
    with desk.files.log.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        outcome = desk.generate("--max-records", 1)
    assert outcome.code == 65
    assert "another process" in outcome.err
