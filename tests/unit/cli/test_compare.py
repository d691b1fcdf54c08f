"""`stillhouse compare`: the document, the tables, the page, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cli_leaves import Outcome, run_leaf
from evaluation_documents import SUBJECT, edited, results, write_answers, write_evaluation

Capture = pytest.CaptureFixture[str]
BASE, STUDENT = results(0.2, 0.9, 0.4, 0.3), results(0.9, 0.7, 0.4, 0.8)
UNREADABLE = Path("/proc/self/mem")
LONG = "student-with-the-grammar-of-the-role-and-an-optimised-program-of-thirty-trials"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    write_answers(tmp_path / "base.jsonl", BASE)
    write_answers(tmp_path / "student.jsonl", STUDENT)
    return {
        "base": write_evaluation(tmp_path / "base.json", BASE, subject=replace(SUBJECT, constraint="none")),
        "student": write_evaluation(tmp_path / "student.json", STUDENT, program="9" * 64),
        "teacher": write_evaluation(tmp_path / "teacher.json", STUDENT, teacher="vertex/gemini", cost_usd=0.5),
    }


def compare(capsys: Capture, files: dict[str, Path], *options: object, output: Path | None = None) -> Outcome:
    to = output or next(iter(files.values())).parent / "comparison.json"
    return run_leaf(capsys, "compare", *(f"{name}={path}" for name, path in files.items()), "--output", to, *options)


def test_the_document_is_written_and_the_tables_are_shown(capsys: Capture, files: dict[str, Path]) -> None:
    done = compare(capsys, files)
    assert done.code == 0, done.err
    written = json.loads((files["base"].parent / "comparison.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in written["evaluations"]] == ["base", "student", "teacher"]
    said = " ".join(done.out.split())
    assert "4 rows of role product_owner, by its metric; baseline base" in said
    assert "student model aaaaaaaaaaaa, role grammar, program 999999999999" in said
    assert "teacher teacher vertex/gemini" in said
    assert "student 0.700 0.187 0.400 75.0 % 100.0 % 0 2.15 -" in said
    assert "teacher 0.700 0.187 0.400 75.0 % 100.0 % 0 2.15 0.12500" in said
    assert "+0.250" in said
    assert "base simple 1 0.400 0.000 0.400 0.0 % 100.0 %" in said
    assert "student simple +0.000 too few rows 0 1 0" in said


def test_json_is_the_document_alone(capsys: Capture, files: dict[str, Path]) -> None:
    done = compare(capsys, files, "--json")
    assert done.json == json.loads((files["base"].parent / "comparison.json").read_text(encoding="utf-8"))
    assert done.json["evaluations"][1]["difference"]["wins"] == 2


def test_failed_rows_are_said(capsys: Capture, files: dict[str, Path]) -> None:
    assert "counts as 0" not in compare(capsys, files).out
    failed = [replace(row, failure="cancelled", score=0.0, valid=False) for row in STUDENT[:1]] + STUDENT[1:]
    write_evaluation(files["student"], failed)
    assert "a failed row has no answer and counts as 0" in compare(capsys, files).out


def test_five_evaluations_with_long_names_fit_into_a_hundred_columns(capsys: Capture, files: dict[str, Path]) -> None:
    named = {f"{LONG}-{number}": files["student"] for number in range(5)}
    done = compare(capsys, named)
    tables = [line.rstrip() for line in done.out.splitlines() if "baseline" not in line and "written to" not in line]
    assert max(map(len, tables)) <= 100
    assert "…" not in done.out


def test_a_name_in_brackets_is_no_markup(capsys: Capture, files: dict[str, Path]) -> None:
    done = compare(capsys, {"base[red]": files["base"], "[/]": files["student"]})
    assert done.code == 0, done.err
    assert done.out.count("base[red]") >= 3
    assert "[/]" in done.out


def test_a_page_has_the_answers_side_by_side(capsys: Capture, files: dict[str, Path], tmp_path: Path) -> None:
    rows = [option for name in ("base", "student") for option in ("--rows", f"{name}={tmp_path / name}.jsonl")]
    done = compare(capsys, files, *rows, "--page", tmp_path / "page.html")
    assert done.code == 0, done.err
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<h3>student beside base</h3>" in page
    assert "<h3>teacher beside base</h3>" not in page
    assert f"written to {tmp_path / 'page.html'}" in done.out


def test_a_page_without_rows_has_the_figures(capsys: Capture, files: dict[str, Path], tmp_path: Path) -> None:
    assert compare(capsys, files, "--page", tmp_path / "page.html").code == 0
    assert "Answers side by side" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_rows_of_another_evaluation_leave_nothing_behind(
    capsys: Capture, files: dict[str, Path], tmp_path: Path
) -> None:
    rows = ["--rows", f"base={tmp_path / 'student.jsonl'}", "--rows", f"student={tmp_path / 'student.jsonl'}"]
    done = compare(capsys, files, *rows, "--page", tmp_path / "page.html")
    assert done.code == 65
    assert f"{tmp_path / 'student.jsonl'}:1 is no row of evaluation base" in done.err
    assert not (tmp_path / "page.html").exists()
    assert not (tmp_path / "comparison.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["base={base}"], "name two evaluations or more, the baseline first"),
        (["base={base}", "{student}"], "is not a name, an equals sign and a file"),
        (["base={base}", "={student}"], "is not a name, an equals sign and a file"),
        (["base={base}", "student="], "is not a name, an equals sign and a file"),
        (["base={base}", "base={student}"], "the name 'base' is given twice"),
        (["a={base}", "b={student}", "--rows", "a=x.jsonl"], "answers are shown on a page; name it with --page"),
        (["a={base}", "b={student}", "--page", "p.html", "--rows", "c=x.jsonl"], "there is no evaluation 'c'"),
        (["a={base}", "b={student}", "--page", "p.html", "--rows", "b=x.jsonl"], "give 'a' and another"),
        (["a={base}", "b={student}", "--page", "p.html", "--rows", "a=x.jsonl"], "give 'a' and another"),
    ],
)
def test_wrong_usage_is_explained(
    capsys: Capture, files: dict[str, Path], tmp_path: Path, arguments: list[str], words: str
) -> None:
    given = [argument.format(**files) for argument in arguments]
    done = run_leaf(capsys, "compare", *given, "--output", tmp_path / "comparison.json")
    assert done.code == 2
    assert words in done.err
    assert not (tmp_path / "comparison.json").exists()


def test_a_name_may_be_of_a_file_whose_path_has_an_equals_sign(capsys: Capture, tmp_path: Path) -> None:
    folder = tmp_path / "rank=8"
    folder.mkdir()
    one, other = write_evaluation(folder / "a.json", BASE), write_evaluation(folder / "b.json", STUDENT)
    assert compare(capsys, {"a": one, "b": other}).code == 0


@pytest.mark.parametrize("field", ["validation_sha256", "metric", "role"])
def test_evaluations_that_cannot_be_compared_are_named_by_their_files(
    capsys: Capture, files: dict[str, Path], field: str
) -> None:
    edited(files["teacher"], **{field: {"name": "poet", "version": 1} if field == "role" else "other"})
    done = compare(capsys, files)
    assert done.code == 65
    assert f"error: {files['base']} and {files['teacher']} can't be compared" in done.err
    assert "differ" in done.err


def test_what_is_no_evaluation_is_named_with_the_reason(capsys: Capture, files: dict[str, Path]) -> None:
    edited(files["student"], scores=None)
    done = compare(capsys, files)
    assert done.code == 65
    assert f"error: {files['student']} is no EVAL.json of stillhouse evaluate: scores: Field required" in done.err


def test_a_comparison_is_no_evaluation(capsys: Capture, files: dict[str, Path], tmp_path: Path) -> None:
    assert compare(capsys, files).code == 0
    done = compare(capsys, {"base": files["base"], "again": tmp_path / "comparison.json"}, output=tmp_path / "x.json")
    assert (done.code, "is no EVAL.json" in done.err) == (65, True)


def test_a_file_that_cannot_be_read_is_named(capsys: Capture, files: dict[str, Path], tmp_path: Path) -> None:
    missing = compare(capsys, {"base": files["base"], "other": tmp_path / "nowhere.json"})
    assert (missing.code, f"no such file: {tmp_path / 'nowhere.json'}" in missing.err) == (65, True)
    folder = compare(capsys, {"base": files["base"], "other": tmp_path})
    assert (folder.code, f"no such file: {tmp_path}" in folder.err) == (65, True)


@pytest.mark.skipif(not UNREADABLE.exists(), reason="this system has no file that is there and can't be read")
def test_a_file_that_is_there_and_cannot_be_read_is_named(capsys: Capture, files: dict[str, Path]) -> None:
    done = compare(capsys, {"base": files["base"], "other": UNREADABLE})
    assert done.code == 75
    assert f"error: {UNREADABLE} can't be read" in done.err


def test_an_output_that_cannot_be_written_is_named(capsys: Capture, files: dict[str, Path], tmp_path: Path) -> None:
    done = compare(capsys, files, output=tmp_path / "nowhere" / "comparison.json")
    assert done.code == 65
    assert "nowhere" in done.err


@pytest.mark.parametrize("page", ["nowhere/page.html", "."])
def test_a_page_that_cannot_be_written_leaves_nothing_behind(
    capsys: Capture, files: dict[str, Path], tmp_path: Path, page: str
) -> None:
    before = sorted(tmp_path.iterdir())
    done = compare(capsys, files, "--page", tmp_path / page)
    assert (done.code, "can't be written" in done.err) == (65, True)
    assert sorted(tmp_path.iterdir()) == before


def test_the_page_and_the_document_are_two_files(capsys: Capture, files: dict[str, Path], tmp_path: Path) -> None:
    done = compare(capsys, files, "--page", tmp_path / "comparison.json")
    assert (done.code, "--page" in done.err) == (2, True)
    assert not (tmp_path / "comparison.json").exists()


def test_tiers_have_the_figures_that_all_rows_have(capsys: Capture, files: dict[str, Path]) -> None:
    done = compare(capsys, files, "--json")
    for made in done.json["evaluations"]:
        evaluation = json.loads(files[made["name"]].read_text(encoding="utf-8"))
        for tier, figures in evaluation["by_tier"].items():
            shown = made["by_tier"][tier]
            assert [shown[name] for name in ("rows", "mean", "std", "min")] == pytest.approx(
                [figures[name] for name in ("count", "mean", "std", "min")]
            )
    lines = [" ".join(line.split()) for line in compare(capsys, files).out.splitlines()]
    assert "base corporate 2 0.250 0.050 0.200 0.0 % 100.0 %" in lines
    assert "student corporate 2 0.850 0.050 0.800 100.0 % 100.0 %" in lines


def test_too_few_rows_for_an_interval_have_none(capsys: Capture, tmp_path: Path) -> None:
    few, many = results(*[0.5] * 5), results(*[0.5] * 18)
    said = {}
    for name, rows in (("few", few), ("many", many)):
        one = write_evaluation(tmp_path / f"{name}.json", rows)
        said[name] = compare(capsys, {"a": one, "b": one}).out
    lines = [" ".join(line.split()) for line in said["few"].splitlines()]
    assert "b +0.000 too few rows 0 5 0 not clear" in lines
    assert "b simple +0.000 too few rows 0 1 0" in lines
    assert "fewer than 6 rows are too few for an interval: they say nothing of other rows" in lines
    assert "-1.000" not in said["few"]
    assert "too few" not in said["many"]
    assert "b simple +0.000 +0.000 to +0.000 0 6 0" in " ".join(said["many"].split())
