import json
from pathlib import Path

import pytest

from cli_leaves import read_rows, run_leaf, write_rows
from scripted_student_server import OUTPUTS, REQUIREMENTS
from stillhouse.roles.role import load_role

SHARED = Path(__file__).parents[3] / "../shared/data/product_owner"


def row(concept: str, **more: object) -> dict[str, object]:
    return {"concept": concept, "requirements_yaml": REQUIREMENTS, **OUTPUTS, **more}


def test_check_exits_1_when_a_normalised_concept_is_in_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_rows(tmp_path / "data.jsonl", row("A Diary  for gardeners"), row("Other"))
    against = write_rows(tmp_path / "validation.jsonl", row("a diary for GARDENERS"))

    outcome = run_leaf(capsys, "dataset", "check", data, "--against", against)

    assert outcome.code == 1
    assert "contaminated: 1 of 2 rows" in outcome.out


def test_check_exits_0_where_inputs_are_only_near(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_rows(tmp_path / "data.jsonl", row("a b c d e f g h i"))
    against = write_rows(tmp_path / "validation.jsonl", row("a b c d e f g h j"))

    outcome = run_leaf(capsys, "dataset", "check", data, "--against", against, "--json")

    assert outcome.code == 0
    assert outcome.json["near_rows"] == 1
    assert outcome.json["exact_rows"] == 0


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the recorded data is not at {SHARED}")
def test_check_finds_the_48_contaminated_recorded_rows(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (SHARED / "teacher_records.jsonl", "--against", SHARED / "validation.jsonl", "--json")

    outcome = run_leaf(capsys, "dataset", "check", *arguments)

    assert outcome.code == 1
    assert outcome.json["exact_rows"] == 48
    assert len(outcome.json["exact_groups"]) == 26


def split(capsys: pytest.CaptureFixture[str], data: Path, folder: Path, *more: object) -> tuple[list[str], list[str]]:
    folder.mkdir(exist_ok=True)
    train, validation = folder / "t.jsonl", folder / "v.jsonl"
    arguments = (data, "--train", train, "--validation", validation, "--split", "0.75", *more)
    assert run_leaf(capsys, "dataset", "split", *arguments).code == 0
    return train.read_text().splitlines(), validation.read_text().splitlines()


def test_split_keeps_the_rows_of_one_concept_together_and_loses_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "data.jsonl", *[row(f"concept {n // 2}", copy=n) for n in range(16)])

    train, validation = split(capsys, data, tmp_path, "--seed", "42")

    assert sorted(train + validation) == sorted(data.read_text().splitlines())
    assert len(train) == 12
    concepts = [{json.loads(line)["concept"] for line in side} for side in (train, validation)]
    assert not concepts[0] & concepts[1]


def test_split_is_decided_by_its_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_rows(tmp_path / "data.jsonl", *[row(f"concept {n}") for n in range(20)])

    first, again, other = (
        split(capsys, data, tmp_path / name, "--seed", seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )

    assert first == again
    assert first != other


@pytest.mark.parametrize("fraction", ["0", "1", "1.5", "x"])
def test_a_split_out_of_range_is_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str], fraction: str) -> None:
    data = write_rows(tmp_path / "data.jsonl", row("one"))
    arguments = (data, "--train", tmp_path / "t", "--validation", tmp_path / "v", "--split", fraction)

    assert run_leaf(capsys, "dataset", "split", *arguments).code == 2


def test_stats_count_by_label_and_threshold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_rows(tmp_path / "d.jsonl", row("a", tier="simple", score=0.9), row("b", tier="large", score=0.5))

    document = run_leaf(capsys, "dataset", "stats", data, "--json").json

    assert document["scores"]["mean"] == pytest.approx(0.7)
    assert document["by_label"]["tier"]["simple"]["count"] == 1
    assert {line["threshold"]: line["count"] for line in document["by_threshold"]}[0.9] == 1


def test_stats_fit_100_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_rows(tmp_path / "d.jsonl", row("a", tier="simple", score=0.9, model="a-long-model-name" * 5))

    outcome = run_leaf(capsys, "dataset", "stats", data)

    assert outcome.code == 0
    assert max(len(line) for line in outcome.out.splitlines()) <= 100
    assert "tier=simple" in outcome.out


def test_stats_tell_lists_of_ids_in_two_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(f"{n}", score=0.9, planted_gaps=json.dumps([f"FR{n:03}"] if n % 3 else [])) for n in range(12)]
    outcome = run_leaf(capsys, "dataset", "stats", write_rows(tmp_path / "d.jsonl", *rows))

    counts = [line.split()[:2] for line in outcome.out.splitlines() if line.startswith("planted_gaps")]
    assert counts == [["planted_gaps=none", "4"], ["planted_gaps=some", "8"]]


def test_stats_score_rows_that_carry_no_score_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_rows(tmp_path / "d.jsonl", row("a"))

    plain = run_leaf(capsys, "dataset", "stats", data, "--json").json
    scored = run_leaf(capsys, "dataset", "stats", data, "--score", "--json").json

    assert plain["unscored"] == 1
    assert scored["scores"]["mean"] == 1.0


def test_show_prints_a_row_in_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_rows(tmp_path / "d.jsonl", row("an early bird"), row("second", tier="simple"))

    outcome = run_leaf(capsys, "dataset", "show", data, "--row", "2")

    assert "second" in outcome.out
    assert "an early bird" not in outcome.out
    assert "Day Pages" in outcome.out


def test_show_names_a_row_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_rows(tmp_path / "d.jsonl", row("first"))

    outcome = run_leaf(capsys, "dataset", "show", data, "--row", "2")

    assert outcome.code == 65
    assert "no row 2" in outcome.err


def test_export_writes_chat_messages_as_the_student_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, chat = write_rows(tmp_path / "d.jsonl", row("first")), tmp_path / "chat.jsonl"

    assert run_leaf(capsys, "dataset", "export", data, "--output", chat).code == 0

    (line,) = read_rows(chat)
    role = load_role("product_owner")
    assert [message["role"] for message in line["messages"]][-1] == "assistant"
    assert line["messages"][-1]["content"] == role.answer_text(role.canonical(OUTPUTS))


def test_a_flat_export_can_be_imported_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, flat, again = write_rows(tmp_path / "d.jsonl", row("first", tier="simple")), tmp_path / "f", tmp_path / "g"

    run_leaf(capsys, "dataset", "export", data, "--output", flat, "--format", "flat")
    run_leaf(capsys, "dataset", "export", flat, "--output", again, "--format", "flat")

    assert flat.read_text() == again.read_text()
    assert read_rows(flat)[0]["concept"] == "first"


def test_export_counts_rows_whose_answer_is_not_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_rows(tmp_path / "d.jsonl", row("a"), {"concept": "b", "requirements_yaml": "x: y", "response": "no"})

    outcome = run_leaf(capsys, "dataset", "export", data, "--output", tmp_path / "o.jsonl")

    assert "1 records; 1 rows left out, the first: d.jsonl:2" in outcome.out


def test_an_unknown_format_is_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_rows(tmp_path / "d.jsonl", row("a"))

    assert run_leaf(capsys, "dataset", "export", data, "--output", tmp_path / "o", "--format", "xml").code == 2
