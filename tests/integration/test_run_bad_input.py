"""What a user reads, and the exit code, when a run is given something wrong."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from stillhouse.artifacts.store import Store
from stillhouse.cli.__main__ import app
from stillhouse.cli.errors import run_app
from stillhouse.controller.inputs import synthesized_rows
from stillhouse.controller.runs import find_run
from stillhouse.dataset.concepts import concept_line
from stillhouse.roles.role import load_role
from stillhouse.spec.scalars import dump_yaml
from stillhouse.spec.sources import Synthesized


class Laptop:
    """A folder with a store, a file to run and what was printed."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.store = directory / "store"
        self._capsys = capsys

    def write(self, **spec: Any) -> Path:
        path = self.directory / "distillation.yaml"
        whole = {"role": "product_owner", "dataset": {"imports": [{"uri": str(self.rows())}]}, **spec}
        kind = {"apiVersion": "stillhouse.dev/v1alpha1", "kind": "Distillation", "metadata": {"name": "bad"}}
        path.write_text(dump_yaml({**kind, "spec": whole}))
        return path

    def rows(self, *, count: int = 6) -> Path:
        path = self.directory / "rows.jsonl"
        if not path.exists():
            path.write_text("".join(synthesized_rows("product_owner", Synthesized(count=count, seed=5))))
        return path

    def run(self, path: Path, *options: str, store: str | None = None) -> tuple[int, str]:
        code = run_app(app, ["run", str(path), "--store", store or str(self.store), *options])
        captured = self._capsys.readouterr()
        return code, captured.out + captured.err


@pytest.fixture
def laptop(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Laptop:
    monkeypatch.setenv("STILLHOUSE_RUNS", str(tmp_path / "runs"))
    return Laptop(tmp_path, capsys)


def test_a_missing_file_names_init(laptop: Laptop) -> None:
    code, said = laptop.run(laptop.directory / "none.yaml")
    assert code == 65
    assert "stillhouse init" in said


def test_an_unknown_key_names_the_nearest_one(laptop: Laptop) -> None:
    code, said = laptop.run(laptop.write(studnet={}))
    assert code == 65
    assert "spec.studnet is unknown; did you mean student?" in said
    assert "Traceback" not in said


def test_a_wrong_override_is_wrong_usage(laptop: Laptop) -> None:
    code, said = laptop.run(laptop.write(), "--set", "dataset.minScor=0.5")
    assert code == 2
    assert "did you mean minScore?" in said


def test_a_missing_import_names_its_place_in_the_spec(laptop: Laptop) -> None:
    code, said = laptop.run(laptop.write(), "--set", "dataset.imports[0].uri=/nowhere/rows.jsonl")
    assert code == 65
    assert "spec.dataset.imports[0]: /nowhere/rows.jsonl does not exist" in said


def test_another_sha256_than_the_spec_says_is_refused(laptop: Laptop) -> None:
    code, said = laptop.run(laptop.write(), "--set", f"dataset.imports[0].sha256={'0' * 64}")
    assert code == 65
    assert "the spec says" in said


def test_corrupt_jsonl_is_named_by_file_and_line(laptop: Laptop) -> None:
    rows = laptop.rows()
    lines = rows.read_text().splitlines(keepends=True)
    lines[2] = lines[2][:50] + "\n"
    rows.write_text("".join(lines))
    code, said = laptop.run(laptop.write())
    assert code == 65
    assert "rows.jsonl" in said
    assert "3" in said


def test_a_row_without_its_concept_is_named_by_field(laptop: Laptop) -> None:
    rows = laptop.rows()
    row = json.loads(rows.read_text().splitlines()[0])
    del row["concept"]
    rows.write_text(json.dumps(row) + "\n")
    code, said = laptop.run(laptop.write())
    assert code == 65
    assert "concept" in said


def test_too_few_records_stop_the_run_before_training(laptop: Laptop) -> None:
    code, said = laptop.run(laptop.write(), "--set", "dataset.minRecords=1000")
    assert code == 65
    assert "fewer than min_records 1000" in said
    steps = find_run(Store.open(str(laptop.store)), "bad").steps
    assert {step["state"] for step in steps if step["name"] != "dataset"} <= {"ready", "waiting"}


def taught(laptop: Laptop, **changes: Any) -> Path:
    """A file with an emulated teacher, asked about a file of concepts."""
    concepts = laptop.directory / "concepts.jsonl"
    if not concepts.exists():
        concepts.write_text("".join(map(concept_line, load_role("product_owner").examples(count=30, seed=5))))
    stage = {"provider": "emulator", "records": 20, "emulator": {"latencySeconds": "0"}}
    dataset = {"concepts": {"uri": str(concepts)}, "teacher": {"stages": [stage]}}
    return laptop.write(dataset=dataset, **changes)


def test_missing_concepts_and_missing_rows_of_a_stage_name_their_place_in_the_spec(laptop: Laptop) -> None:
    path = taught(laptop)
    code, said = laptop.run(path, "--set", "dataset.concepts.uri=/nowhere/concepts.jsonl")
    assert code == 65
    assert "spec.dataset.concepts: /nowhere/concepts.jsonl does not exist" in said
    code, said = laptop.run(path, "--set", "dataset.teacher.stages[1].import.uri=/nowhere/rows.jsonl")
    assert code == 65
    assert "spec.dataset.teacher.stages[1].import: /nowhere/rows.jsonl does not exist" in said


def test_a_broken_concept_is_named_by_line_before_anything_is_paid(laptop: Laptop) -> None:
    path = taught(laptop)
    concepts = laptop.directory / "concepts.jsonl"
    lines = concepts.read_text().splitlines(keepends=True)
    concepts.write_text("".join(["{broken\n", *lines]))
    for option in ("--dry-run", None):
        code, said = laptop.run(path, *([option] if option else []))
        assert code == 65
        assert "concepts.jsonl" in said
        assert "1" in said
        assert "Traceback" not in said
    assert not list(laptop.store.glob("answers/**/*.json"))


def test_a_budget_of_zero_asks_nothing_and_says_what_to_raise(laptop: Laptop) -> None:
    code, said = laptop.run(taught(laptop, budget={"maxCostUsd": "0"}))
    assert code == 65
    assert "raise budget.maxCostUsd" in said
    assert not list(laptop.store.glob("answers/**/*.json"))


def test_a_teacher_whose_price_nobody_knows_cannot_be_kept_on_a_budget(laptop: Laptop) -> None:
    path = taught(laptop, budget={"maxCostUsd": "1"})
    code, said = laptop.run(path, "--set", "dataset.teacher.stages[0].model=unheard-of")
    assert code == 65
    assert "dataset.teacher.prices" in said


def test_an_unknown_role_base_guard_and_preset_are_named(laptop: Laptop) -> None:
    path = laptop.write()
    for override, named in (
        ("role=poet", "unknown role 'poet'; installed roles: product_owner"),
        ("student.preset=gpu", "unknown preset 'gpu'"),
        ("dataset.guards=[nonsense]", "unknown guard 'nonsense'"),
    ):
        code, said = laptop.run(path, "--set", override)
        assert code == 65
        assert named in said


def test_an_unknown_builtin_base_is_answered_with_the_known_ones(laptop: Laptop) -> None:
    code, said = laptop.run(laptop.write(student={"base": "builtin:huge"}), "--set", "dataset.minRecords=1")
    assert code == 65
    assert "builtin:huge" in said
    assert "builtin:tiny" in said


def test_a_base_directory_without_a_config_is_refused(laptop: Laptop) -> None:
    code, said = laptop.run(laptop.write(student={"base": str(laptop.directory)}))
    assert code == 65
    assert "no Hugging Face directory" in said


def test_a_store_below_a_file_is_refused(laptop: Laptop) -> None:
    blocker = laptop.directory / "blocker"
    blocker.write_text("a file")
    code, said = laptop.run(laptop.write(), store=str(blocker / "store"))
    assert code == 65
    assert str(blocker) in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_store_is_refused(laptop: Laptop) -> None:
    laptop.store.mkdir()
    laptop.store.chmod(stat.S_IRUSR | stat.S_IXUSR)
    code, said = laptop.run(laptop.write())
    assert code == 65
    assert str(laptop.store) in said


def test_a_memory_store_cannot_carry_a_run(laptop: Laptop) -> None:
    code, said = laptop.run(laptop.write(), store="memory://x")
    assert code == 65
    assert "use file://" in said


def test_a_tampered_blob_is_found_by_the_stage_that_reads_it(laptop: Laptop) -> None:
    path = laptop.write()
    laptop.run(path, "--set", "dataset.minRecords=1000")
    for blob in (laptop.store / "blobs" / "sha256").iterdir():
        blob.write_bytes(b"x" * blob.stat().st_size)
    code, said = laptop.run(path)
    assert code == 65
    assert "sha256" in said
    assert "Traceback" not in said


def test_a_dry_run_prints_the_plan_and_starts_nothing(laptop: Laptop) -> None:
    code, said = laptop.run(laptop.write(), "--dry-run")
    assert code == 0
    assert "dataset" in said
    assert "after train" in said
    assert not list(laptop.store.glob("stages/*"))


def test_a_dry_run_names_the_paid_steps_that_it_does_not_estimate(laptop: Laptop) -> None:
    path = taught(laptop, evaluation={"teacher": True}, budget={"maxCostUsd": "1.5"})
    code, said = laptop.run(path, "--dry-run")
    assert code == 0
    assert "gemini-2.5-flash" in said
    assert "not estimated: evaluate-teacher; models are paid there too" in said
    rows = {use: {"synthesized": {"count": 4, "seed": seed}} for use, seed in (("train", 901), ("validation", 902))}
    path = taught(laptop, optimization={"target": "Teacher", **rows})
    code, said = laptop.run(path, "--dry-run")
    assert code == 0
    assert "not estimated: optimize, generate; models are paid there too" in said
    assert "there is no budget.maxCostUsd" in " ".join(said.split())


def test_init_into_a_folder_that_is_not_there_names_it(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, ["init", str(laptop.directory / "none" / "d.yaml")]) == 65
    said = capsys.readouterr().err
    assert "none/d.yaml" in said
    assert "Traceback" not in said


def test_a_folder_for_runs_that_cannot_be_written_is_named(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    path = laptop.write()
    monkeypatch.setenv("STILLHOUSE_RUNS", str(path))
    code, said = laptop.run(path)
    assert code == 65
    assert "set STILLHOUSE_RUNS" in said
    assert "Traceback" not in said


def test_a_suspended_file_starts_nothing(laptop: Laptop) -> None:
    code, said = laptop.run(laptop.write(suspend=True))
    assert code == 0
    assert "is suspended" in said
    assert not list(laptop.store.glob("stages/*"))
