"""Every code cell of the Colab notebook, in order, in a process of its own: the tiny base in the place of 7B."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli_leaves import read_rows
from exported_tiny import tiny_base
from stillhouse.dataset.records import write_record
from stillhouse.rpc.subprocesses import free_port
from training_fixture import synthesized_records

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "stillhouse_train.ipynb"
RUNNER = """
import json, sys
names = {"__name__": "__main__"}
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    if cell["id"] == sys.argv[2]:
        break
"""


@dataclass(frozen=True)
class Session:
    """A machine that the notebook ran on, and what it showed."""

    output: Path
    work: Path
    shown: str


def run_notebook(folder: Path, work: str, *, until: str) -> Session:
    """`folder` stands for Google Drive, `work` for the machine."""
    parameters = {
        "BASE": "builtin:tiny",
        "PRESET": "cpu-135m",
        "OUTPUT": "output",
        "WORK": work,
        "QUANTIZE": "F16",
        "EVALUATED_ROWS": "2",
        "MAX_TOKENS": "16",
        "PORT": str(free_port()),
    }
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::SyntaxWarning"}
    environment |= {f"NOTEBOOK_{name}": value for name, value in parameters.items()}
    command = [sys.executable, "-c", RUNNER, str(NOTEBOOK), until]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return Session(folder / "output", folder / work, done.stdout)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    tiny_base()
    folder = tmp_path_factory.mktemp("notebook")
    records = "".join(write_record(record) for record in synthesized_records(14))
    (folder / "output").mkdir()
    (folder / "output" / "data.jsonl").write_text(records, "utf-8")
    return run_notebook(folder, "machine", until="download")


def test_it_trains_an_adapter_and_shows_the_losses_on_training_and_validation_rows(session: Session) -> None:
    assert (session.output / "adapter" / "adapter_model.safetensors").is_file()
    assert re.search(r"step +training rows +validation rows", session.shown)
    measured = [row for row in read_rows(session.output / "adapter" / "loss_curve.jsonl") if "tuning_loss" in row]
    assert len(measured) > 1
    for row in measured:
        assert re.search(rf"^ +{row['step']}  +\d+\.\d{{4}}  +{row['tuning_loss']:.4f}$", session.shown, re.MULTILINE)


def test_the_two_files_of_rows_share_no_input(session: Session) -> None:
    train, validation = (read_rows(session.work / name) for name in ("train.jsonl", "validation.jsonl"))
    assert len(train) + len(validation) == 14
    assert len(validation) >= 2
    assert "clean: 0 of" in session.shown


def test_it_exports_a_gguf_of_the_student_and_of_the_adapter(session: Session) -> None:
    exported = json.loads((session.work / "model" / "export.json").read_text("utf-8"))
    assert Path(exported["model"]).read_bytes()[:4] == b"GGUF"
    assert (session.work / "model" / "product-owner-student.adapter.gguf").is_file()


def test_it_evaluates_the_served_student_on_validation_rows(session: Session) -> None:
    evaluation = json.loads((session.output / "evaluation.json").read_text("utf-8"))
    answers = read_rows(session.output / "answers.jsonl")
    asked = {row["inputs"]["concept"] for row in read_rows(session.work / "validation.jsonl")}
    assert len(evaluation["rows"]) == len(answers) == 2
    assert {answer["inputs"]["concept"] for answer in answers} <= asked


def test_another_machine_finds_the_checkpoints_and_the_adapter_of_the_lost_one(session: Session) -> None:
    assert list(session.output.glob("runs/*/progress.json"))

    again = run_notebook(session.output.parent, "another-machine", until="losses")

    assert "trained already" in again.shown
    assert (again.work / "store" / "runs").resolve() == session.output / "runs"
