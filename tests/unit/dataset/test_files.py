"""Check, split and statistics of files, as the command line calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quiz_role import QuizRole
from stillhouse.dataset.files import check_contamination, file_statistics, split_file
from stillhouse.dataset.records import DataRecord, write_record
from stillhouse.errors import InvalidArgument

ROLE = QuizRole()


def written(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_normalised_key_in_both_files_is_contamination_and_near_ones_are_listed(tmp_path: Path) -> None:
    data = written(
        tmp_path / "data.jsonl",
        {"question": "What IS\n it"},
        {"question": "what is it"},
        {"question": "where on the big wide map is it"},
        {"question": "something else"},
    )
    against = written(
        tmp_path / "validation.jsonl", {"question": "what is it"}, {"question": "where on the big wide map was it"}
    )
    report = check_contamination(data, against, ROLE)
    assert report.contaminated
    assert (report.rows, report.groups, report.validation_rows, report.validation_groups) == (4, 3, 2, 2)
    assert (report.exact_rows, report.exact_groups) == (2, ("what is it",))
    assert report.near_pairs == ()
    near = check_contamination(
        written(tmp_path / "near.jsonl", {"question": "so where on the big wide map was it"}), against, ROLE
    )
    assert not near.contaminated
    assert (near.near_rows, near.near_pairs[0].similarity) == (1, 8 / 9)


def test_a_split_writes_rows_unchanged_in_order_and_divides_no_group(tmp_path: Path) -> None:
    lines = [f'{{"question":"q{number // 2}",   "x": [{number}], "response": "á"}}' for number in range(40)]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(lines))
    train, validation = tmp_path / "t.jsonl", tmp_path / "v.jsonl"
    report = split_file(data, train=train, validation=validation, fraction=0.85, seed=42, shape=ROLE)
    assert (report.train_groups, report.validation_groups) == (17, 3)
    assert (report.train_rows, report.validation_rows) == (34, 6)
    kept, held_out = train.read_text().splitlines(), validation.read_text().splitlines()
    assert sorted([*kept, *held_out]) == sorted(lines)
    assert kept == [line for line in lines if line in set(kept)]
    assert not {json.loads(line)["question"] for line in kept} & {json.loads(line)["question"] for line in held_out}


def test_records_of_a_built_data_set_are_split_as_well(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("".join(write_record(DataRecord({"question": f"q{number}"}, {})) for number in range(10)))
    report = split_file(
        data, train=tmp_path / "t.jsonl", validation=tmp_path / "v.jsonl", fraction=0.8, seed=1, shape=ROLE
    )
    assert (report.train_rows, report.validation_rows) == (8, 2)


def test_a_broken_row_leaves_no_half_of_a_split(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "a"}\n{"question": \n')
    with pytest.raises(InvalidArgument, match=r"data.jsonl:2 "):
        split_file(data, train=tmp_path / "t.jsonl", validation=tmp_path / "v.jsonl", fraction=0.5, seed=1, shape=ROLE)
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, float("nan")])
def test_a_split_fraction_out_of_range_is_refused(tmp_path: Path, fraction: float) -> None:
    with pytest.raises(InvalidArgument, match="fraction"):
        split_file(
            tmp_path / "d", train=tmp_path / "t", validation=tmp_path / "v", fraction=fraction, seed=1, shape=ROLE
        )


def test_a_split_onto_its_own_source_is_refused(tmp_path: Path) -> None:
    data = written(tmp_path / "data.jsonl", {"question": "q"})
    with pytest.raises(InvalidArgument, match="three different files"):
        split_file(data, train=data, validation=tmp_path / "v", fraction=0.5, seed=1, shape=ROLE)


def test_statistics_use_the_scores_of_the_rows_or_score_those_without(tmp_path: Path) -> None:
    data = written(
        tmp_path / "data.jsonl",
        {"question": "a", "score": 0.5, "tier": "x"},
        {"question": "A", "tier": "x"},
        {"question": "b", "score": 1, "tier": "y"},
    )
    found = file_statistics(data, ROLE)
    assert (found.funnel.rows_read, found.groups, found.unscored, found.scores.mean) == (3, 2, 1, 0.75)
    assert file_statistics(data, ROLE, score=lambda candidate: 0.0).scores.mean == 0.5
