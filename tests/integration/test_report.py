"""`stillhouse report` on a run that was really made, and on what is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from report_run import NAME, finished_run
from stillhouse.artifacts.store import Store
from tiny_run import FinishedRun


def report(*arguments: object, directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stillhouse.cli", "report", *[str(argument) for argument in arguments]]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=300)


def test_a_finished_run_has_a_report_with_all_that_it_made(finished: FinishedRun, tmp_path: Path) -> None:
    done = report("tiny", "--store", finished.machine.store, directory=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tiny.html: ")
    page = (tmp_path / "tiny.html").read_text(encoding="utf-8")
    for heading in ("Student, base and teacher", "Gates", "Scores", "Training and export", "Teacher beside student"):
        assert f"<h2>{heading}</h2>" in page
    assert "Left out of this report" not in page
    assert f"stillhouse chat tiny --store {finished.machine.store}" in page


def test_the_report_goes_where_it_is_told_and_says_what_is_to_be_known(tmp_path: Path) -> None:
    finished_run(Store.open(str(tmp_path / "store")))
    done = report(NAME, "--store", tmp_path / "store", "--output", tmp_path / "mine.html", directory=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fails 1 of 4 gates" in done.stdout
    assert "The teacher was emulated" in done.stderr
    assert (tmp_path / "mine.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_an_unknown_run_is_an_error_that_names_the_known_ones(tmp_path: Path) -> None:
    finished_run(Store.open(str(tmp_path / "store")))
    done = report("orchid", "--store", tmp_path / "store", directory=tmp_path)
    assert done.returncode == 65
    assert done.stderr.startswith("error: no run 'orchid'")
    assert f"runs there: {NAME}" in done.stderr
    assert not (tmp_path / "orchid.html").exists()


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    finished_run(Store.open(str(tmp_path / "store")))
    missing = tmp_path / "nowhere" / "mine.html"
    done = report(NAME, "--store", tmp_path / "store", "--output", missing, directory=tmp_path)
    assert done.returncode == 65
    assert str(missing) in done.stderr
