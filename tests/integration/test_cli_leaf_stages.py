"""dataset import, train and export from the command line: real Jobs over a store, the tiny base."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from cli_leaves import end_leaf, read_rows, run_leaf, start_leaf, write_rows
from gguf_fixture import smollm2_wheel
from scripted_student_server import OUTPUTS, REQUIREMENTS

Capture = pytest.CaptureFixture[str]


def row(concept: str, **more: object) -> dict[str, object]:
    return {"concept": concept, "requirements_yaml": REQUIREMENTS, **OUTPUTS, **more}


def test_import_builds_a_data_set_and_says_what_it_refused(tmp_path: Path, capsys: Capture) -> None:
    rows = write_rows(
        tmp_path / "rows.jsonl", *[row(f"A diary for reader {n} of {n * 7}") for n in range(8)], row("Held")
    )
    held = write_rows(tmp_path / "held.jsonl", row("held"))
    folder = tmp_path / "data"

    arguments = ("--output", folder, "--validation", held, "--store", tmp_path / "store", "--json")
    outcome = run_leaf(capsys, "dataset", "import", rows, *arguments)

    assert outcome.code == 0, outcome.err
    assert outcome.json["refused"] == {"contaminated": 1}
    assert len(read_rows(folder / "train.jsonl")) + len(read_rows(folder / "tuning.jsonl")) == 8
    assert [each["reason"] for each in read_rows(folder / "refused.jsonl")] == ["contaminated"]


def test_an_import_without_enough_records_is_permanent_in_the_stages_own_words(tmp_path: Path, capsys: Capture) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", row("one"))

    arguments = ("--output", tmp_path / "data", "--store", tmp_path / "store", "--min-records", "50")
    outcome = run_leaf(capsys, "dataset", "import", rows, *arguments)

    assert outcome.code == 65
    assert "min_records" in outcome.err
    assert "Traceback" not in outcome.err


def test_an_unknown_guard_or_preset_is_usage(tmp_path: Path, capsys: Capture) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", row("one"))
    importing = ("dataset", "import", rows, "--output", tmp_path / "d", "--guards", "nobody")
    training = ("train", "--train", rows, "--validation", rows, "--output", tmp_path / "d", "--preset", "huge")

    assert run_leaf(capsys, *importing).code == 2
    assert run_leaf(capsys, *training).code == 2


def test_rows_without_a_valid_answer_are_nothing_to_learn_from(tmp_path: Path, capsys: Capture) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", {"concept": "a", "requirements_yaml": REQUIREMENTS, "response": "no"})
    arguments = ("--train", rows, "--validation", rows, "--output", tmp_path / "d", "--store", tmp_path / "store")

    outcome = run_leaf(capsys, "train", *arguments, "--base", "builtin:tiny")

    assert outcome.code == 65
    assert "nothing to learn from" in outcome.err


def test_an_unknown_base_is_named_by_the_stage(tmp_path: Path, capsys: Capture) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", row("one"), row("two"))
    arguments = ("--train", rows, "--validation", rows, "--output", tmp_path / "d", "--store", tmp_path / "store")

    outcome = run_leaf(capsys, "train", *arguments, "--base", "builtin:enormous")

    assert outcome.code == 65
    assert "enormous" in outcome.err


def test_an_adapter_folder_without_an_adapter_is_named(tmp_path: Path, capsys: Capture) -> None:
    outcome = run_leaf(capsys, "export", "--adapter", tmp_path, "--output", tmp_path / "d", "--store", tmp_path / "s")

    assert outcome.code == 65
    assert "adapter_config.json" in outcome.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The adapter of two steps on the tiny base, and the store it was made in."""
    smollm2_wheel()
    folder = tmp_path_factory.mktemp("trained")
    train = write_rows(folder / "t.jsonl", *[row(f"A diary for reader {n}") for n in range(4)])
    validation = write_rows(folder / "v.jsonl", row("A diary for nobody"))
    adapter, store = folder / "adapter", folder / "store"
    arguments = ("--base", "builtin:tiny", "--train", train, "--validation", validation, "--output", adapter)
    sizes = ("--lora-rank", 4, "--lora-alpha", 8, "--epochs", 1, "--batch-size", 2, "--learning-rate", "1e-3")
    outcome = end_leaf(start_leaf("train", *arguments, *sizes, "--store", store), seconds=300)
    assert outcome.code == 0, outcome.err
    return adapter, store


def test_train_writes_adapter_loss_curve_and_figures(trained: tuple[Path, Path]) -> None:
    adapter, _ = trained

    assert (adapter / "adapter_model.safetensors").is_file()
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 8)
    assert json.loads((adapter / "training.json").read_text())["steps"] == 2
    assert read_rows(adapter / "loss_curve.jsonl")


def test_the_same_training_again_does_nothing_twice(
    trained: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    adapter, store = trained
    folder = adapter.parent
    arguments = ("--base", "builtin:tiny", "--train", folder / "t.jsonl", "--validation", folder / "v.jsonl")
    sizes = ("--lora-rank", 4, "--lora-alpha", 8, "--epochs", 1, "--batch-size", 2, "--learning-rate", "1e-3")

    outcome = run_leaf(capsys, "train", *arguments, *sizes, "--store", store, "--output", tmp_path / "again")

    assert outcome.code == 0
    assert "train: done already" in outcome.err
    files = ("adapter_model.safetensors", "loss_curve.jsonl")
    assert all((tmp_path / "again" / name).read_bytes() == (adapter / name).read_bytes() for name in files)


def test_export_makes_a_gguf_that_is_served(trained: tuple[Path, Path], tmp_path: Path) -> None:
    adapter, store = trained
    output = tmp_path / "exported"
    arguments = ("--adapter", adapter, "--base", "builtin:tiny", "--output", output, "--store", store)

    outcome = end_leaf(start_leaf("export", *arguments, "--quantize", "Q8_0", "--json"), seconds=300)

    assert outcome.code == 0, outcome.err
    model = Path(outcome.json["model"])
    assert outcome.json["parity_mismatches"] == 0
    said = end_leaf(start_leaf("chat", model, "--free", "--max-tokens", "8"), "hello\n")
    assert said.code == 0, said.err


def test_export_prints_the_name_that_ollama_takes(trained: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    output = tmp_path / "exported"
    arguments = ("--base", "builtin:tiny", "--output", output, "--store", trained[1], "--name", "My Student: v1")

    outcome = run_leaf(capsys, "export", *arguments)

    assert outcome.code == 0, outcome.err
    assert "ollama create my-student-v1 -f" in outcome.out
    assert "ollama create my-student-v1 -f Modelfile" in (output / "README.md").read_text()
    assert (output / "Modelfile").read_text().startswith("FROM ./my-student-v1")


def steps_done(store: Path) -> int:
    said = [json.loads(path.read_text()) for path in store.glob("runs/*/progress.json")]
    return max((int(progress.get("done", 0)) for progress in said if progress["stage"] == "train"), default=0)


def test_sigterm_stops_a_training_after_a_checkpoint_with_143(trained: tuple[Path, Path], tmp_path: Path) -> None:
    train = write_rows(tmp_path / "t.jsonl", *[row(f"A diary for reader {n}") for n in range(40)])
    store = tmp_path / "store"
    arguments = ("--base", "builtin:tiny", "--train", train, "--validation", trained[0].parent / "v.jsonl")
    steps = ("--epochs", 100, "--batch-size", 1)
    process = start_leaf("train", *arguments, *steps, "--store", store, "--output", tmp_path / "out")
    while not steps_done(store):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    outcome = end_leaf(process)

    assert outcome.code == 143
    assert "goes on" in outcome.err
    assert list(store.glob("runs/*/checkpoint.json"))
