import json
from pathlib import Path

import pytest

from cli_leaves import read_rows, run_leaf, write_rows
from scripted_student_server import OUTPUTS, REQUIREMENTS

RECORDED = Path(__file__).parents[3] / "../shared/data/product_owner/validation.jsonl"
ROW = {"concept_id": "C1", "requirements_yaml": REQUIREMENTS, **OUTPUTS}


def test_each_output_row_is_the_input_row_with_score_parts_and_guards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, scored = write_rows(tmp_path / "rows.jsonl", ROW), tmp_path / "scored.jsonl"

    outcome = run_leaf(capsys, "score", "--role", "product_owner", "--input", rows, "--output", scored)

    assert outcome.code == 0
    (row,) = read_rows(scored)
    assert {name: row[name] for name in ROW} == ROW
    assert row["score"] == 1.0
    assert set(row["parts"]) == {"schema", "vision_completeness", "requirements_alignment", "review_specificity"}
    assert row["guards"] == []


def test_the_figures_come_as_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", ROW, {**ROW, "product_vision": ""})

    outcome = run_leaf(capsys, "score", "--input", rows, "--output", tmp_path / "o.jsonl", "--json")

    assert outcome.json["rows"] == 2
    assert 0 < outcome.json["scores"]["min"] < outcome.json["scores"]["max"] == 1.0


def test_a_metric_of_the_users_own_takes_the_place_of_the_roles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, scored = write_rows(tmp_path / "rows.jsonl", ROW), tmp_path / "scored.jsonl"

    run_leaf(capsys, "score", "--input", rows, "--output", scored, "--metric", "leaf_metrics:half")

    assert read_rows(scored)[0]["score"] == 0.5


def test_a_corrupt_row_is_bad_data_with_file_and_line_and_leaves_no_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, scored = tmp_path / "rows.jsonl", tmp_path / "scored.jsonl"
    rows.write_text(json.dumps(ROW) + "\n{broken\n")

    outcome = run_leaf(capsys, "score", "--input", rows, "--output", scored)

    assert outcome.code == 65
    assert "rows.jsonl:2" in outcome.err
    assert not scored.exists()


@pytest.mark.parametrize("option", [("--role", "nobody"), ("--metric", "nowhere:nothing"), ("--metric", "nonsense")])
def test_an_unknown_role_or_metric_is_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, str]
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", ROW)

    assert run_leaf(capsys, "score", "--input", rows, "--output", tmp_path / "o", *option).code == 2


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_leaf(capsys, "score", "--input", tmp_path / "none.jsonl", "--output", tmp_path / "o")

    assert outcome.code == 65
    assert "none.jsonl" in outcome.err


@pytest.mark.skipif(not RECORDED.is_file(), reason=f"the recorded data is not at {RECORDED}")
def test_the_recorded_scores_are_reproduced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scored = tmp_path / "scored.jsonl"

    outcome = run_leaf(capsys, "score", "--role", "product_owner", "--input", RECORDED, "--output", scored, "--json")

    recorded = [row["score"] for row in read_rows(RECORDED)]
    assert [row["score"] for row in read_rows(scored)] == pytest.approx(recorded, abs=1e-9)
    assert outcome.json["scores"]["mean"] == pytest.approx(0.8312704, abs=1e-6)
