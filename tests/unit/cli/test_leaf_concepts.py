from pathlib import Path

import pytest

from cli_leaves import read_rows, run_leaf


def test_concepts_are_written_with_their_labels_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "CONCEPTS.jsonl"

    outcome = run_leaf(capsys, "concepts", "--role", "product_owner", "--count", 30, "--seed", 42, "--output", output)

    rows = read_rows(output)
    planted = sum(row["planted_gaps"] != "[]" or row["planted_conflicts"] != "[]" for row in rows)
    assert (outcome.code, len(rows)) == (0, 30)
    assert outcome.out == (
        f"30 concepts (simple 10, medium 10, corporate 10), {planted} with planted findings, written to {output}\n"
    )


def test_a_longer_file_begins_with_a_shorter_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short, long = tmp_path / "short.jsonl", tmp_path / "long.jsonl"

    run_leaf(capsys, "concepts", "--count", 5, "--output", short)
    run_leaf(capsys, "concepts", "--count", 9, "--output", long)

    assert read_rows(long)[:5] == read_rows(short)


def test_the_planted_fraction_is_the_users(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    none = run_leaf(capsys, "concepts", "--count", 12, "--planted", 0, "--output", tmp_path / "none.jsonl")
    all_of_them = run_leaf(capsys, "concepts", "--count", 12, "--planted", 1, "--output", tmp_path / "all.jsonl")

    assert " 0 with planted" in none.out
    assert " 12 with planted" in all_of_them.out


def test_an_existing_output_is_replaced_only_when_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "CONCEPTS.jsonl"
    output.write_text("mine\n")

    refused = run_leaf(capsys, "concepts", "--count", 3, "--output", output)

    assert refused.code == 65
    assert "--overwrite" in refused.err
    assert output.read_text() == "mine\n"
    assert run_leaf(capsys, "concepts", "--count", 3, "--output", output, "--overwrite").code == 0
    assert len(read_rows(output)) == 3


@pytest.mark.parametrize(
    "option", [("--count", "0"), ("--count", "many"), ("--planted", "2"), ("--planted", "-0.1"), ("--role", "nobody")]
)
def test_a_wrong_value_is_usage_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, str]
) -> None:
    outcome = run_leaf(capsys, "concepts", "--output", tmp_path / "o.jsonl", *option)

    assert outcome.code == 2
    assert option[0] in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_leaf(capsys, "concepts", "--count", 3, "--output", tmp_path / "none" / "o.jsonl")

    assert outcome.code == 65
    assert "none" in outcome.err
