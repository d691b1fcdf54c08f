"""Writes the Colab notebook to standard output: notebooks/stillhouse_train.ipynb, of nbformat 4.5.

`make generate` calls it. Cells only call the command line; nothing of the package is in them.
"""

from __future__ import annotations

import json
import sys
from typing import Any

CELLS: tuple[tuple[str, str, str], ...] = (
    (
        "title",
        "markdown",
        """
# Train a student

A 7B student on a T4 with Stillhouse's own trainer: its losses, adapter and GGUF, and an evaluation on rows that it
was not trained on. Choose *Runtime, Change runtime type, T4 GPU*; with *High-RAM* if the GGUF is to be made here too.
Every step is a command of `stillhouse`, and all of it may be run again: what is done is not done twice.
""",
    ),
    (
        "parameters",
        "code",
        """
import os
from itertools import islice
from pathlib import Path

# A name on the Hugging Face hub (HF_TOKEN in the environment for a gated one), builtin:NAME, or a directory.
BASE = os.environ.get("NOTEBOOK_BASE", "Qwen/Qwen2.5-7B-Instruct")
PRESET = os.environ.get("NOTEBOOK_PRESET", "t4-7b")
ROLE = os.environ.get("NOTEBOOK_ROLE", "product_owner")
# What must outlive this machine: data set, checkpoints, adapter, evaluation. For 7B some 200 MB.
OUTPUT = Path(os.environ.get("NOTEBOOK_OUTPUT", "/content/drive/MyDrive/stillhouse"))
DATASET = Path(os.environ.get("NOTEBOOK_DATASET", OUTPUT / "data.jsonl"))
# Held-out rows of your own, a file; without them 15 % of the data set's inputs are held out.
VALIDATION = os.environ.get("NOTEBOOK_VALIDATION", "")
# What may be lost with it: base, store, GGUF. Training 7B takes some 50 GB of disk in all.
WORK = Path(os.environ.get("NOTEBOOK_WORK", "/content/stillhouse"))
QUANTIZE = os.environ.get("NOTEBOOK_QUANTIZE", "Q8_0")
EVALUATED_ROWS = int(os.environ.get("NOTEBOOK_EVALUATED_ROWS", "8"))
MAX_TOKENS = int(os.environ.get("NOTEBOOK_MAX_TOKENS", "1024"))
PORT = int(os.environ.get("NOTEBOOK_PORT", "50051"))
# An index with CUDA builds of xllamacpp: the student is then served by the GPU, else by the processor.
LLAMA_INDEX = os.environ.get("NOTEBOOK_LLAMA_INDEX", "")
""",
    ),
    (
        "install",
        "code",
        """
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys


def run(*command):
    # Shows what the command says as it says it; stopping the cell stops the command, after a checkpoint.
    words = [str(word) for word in command]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)


def stillhouse(*arguments):
    run(sys.executable, "-m", "stillhouse.cli", *arguments)


pip = [sys.executable, "-m", "pip", "install", "--quiet"]
if importlib.util.find_spec("stillhouse") is None:
    source = "git+https://github.com/stillhouse/stillhouse"
    run(*pip, f"stillhouse[trainer,exporter,student-inference,report,cuda] @ {source}")
if LLAMA_INDEX:
    version = importlib.metadata.version("xllamacpp")
    run(*pip, "--force-reinstall", "--no-deps", "--index-url", LLAMA_INDEX, f"xllamacpp=={version}")
""",
    ),
    (
        "data-text",
        "markdown",
        """
## Data

`DATASET` is what this command writes on your machine; if it is not there, Colab asks for it and keeps it.

    stillhouse dataset export DATA.jsonl --format record --output data.jsonl

`OUTPUT` lies on Google Drive. After a disconnected session *Runtime, Run all* fetches the base anew and goes on from
the last checkpoint. Of the store only the checkpoints lie there, by way of a link: a 7B base alone is 15 GB, and Drive
has no hard links, by which a store of files commits what is done.
""",
    ),
    (
        "folders",
        "code",
        """
on_colab = "google.colab" in sys.modules
if on_colab:
    from google.colab import drive, files

    if OUTPUT.is_relative_to("/content/drive"):
        drive.mount("/content/drive")
    if not DATASET.is_file():
        DATASET.parent.mkdir(parents=True, exist_ok=True)
        DATASET.write_bytes(next(iter(files.upload().values())))

OUTPUT, WORK = OUTPUT.absolute(), WORK.absolute()
store, runs = WORK / "store", OUTPUT / "runs"
for folder in (store, runs):
    folder.mkdir(parents=True, exist_ok=True)
if not (store / "runs").exists():
    (store / "runs").symlink_to(runs)
os.environ["STILLHOUSE_STORE"] = f"file://{store}"
stillhouse("doctor")
if shutil.which("nvidia-smi"):
    run("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
""",
    ),
    (
        "split",
        "code",
        """
train_rows, validation_rows = WORK / "train.jsonl", WORK / "validation.jsonl"
if VALIDATION:
    train_rows.write_bytes(DATASET.read_bytes())
    validation_rows.write_bytes(Path(VALIDATION).read_bytes())
else:
    stillhouse("dataset", "split", DATASET, "--role", ROLE, "--train", train_rows, "--validation", validation_rows)
# Stops here if an input is in both.
stillhouse("dataset", "check", train_rows, "--role", ROLE, "--against", validation_rows)
""",
    ),
    (
        "train-text",
        "markdown",
        """
## Training

The preset `t4-7b` is LoRA of rank 16 on q and v over a 4-bit base (nf4), computed in float16: by calculation 9 of the
T4's 15 GB. A checkpoint goes to `OUTPUT` every five minutes; a stopped cell goes on when it is run again. Another base,
preset or data set is trained anew and takes the adapter's place: name another `OUTPUT` to keep both.
""",
    ),
    (
        "train",
        "code",
        """
import hashlib
import json

adapter = OUTPUT / "adapter"
asked = {"base": BASE, "preset": PRESET, "role": ROLE}
for rows in (train_rows, validation_rows):
    asked[rows.name] = hashlib.sha256(rows.read_bytes()).hexdigest()
finished = OUTPUT / "trained.json"
if finished.is_file() and json.loads(finished.read_text()) == asked:
    print(f"trained already: {adapter}")
else:
    given = ["--base", BASE, "--preset", PRESET, "--role", ROLE]
    stillhouse("train", *given, "--train", train_rows, "--validation", validation_rows, "--output", adapter)
    finished.write_text(json.dumps(asked, indent=2))
""",
    ),
    (
        "losses-text",
        "markdown",
        """
## Losses

Cross-entropy of the answers' tokens, in nats. The adapter is that of the step with the lowest loss on validation rows.
""",
    ),
    (
        "losses",
        "code",
        """
import altair

curve = [json.loads(line) for line in (adapter / "loss_curve.jsonl").read_text().splitlines()]
points, since = [], []
print(f"{'step':>6}  {'training rows':>13}  {'validation rows':>15}")
for row in curve:
    since.append(row["loss"])
    points.append({"step": row["step"], "rows": "training", "loss": row["loss"]})
    if "tuning_loss" in row:
        # Of the training rows the mean since the line above.
        print(f"{row['step']:>6}  {sum(since) / len(since):>13.4f}  {row['tuning_loss']:>15.4f}")
        points.append({"step": row["step"], "rows": "validation", "loss": row["tuning_loss"]})
        since = []

lines = altair.Chart(altair.Data(values=points)).mark_line(point=True)
lines.encode(x="step:Q", y=altair.Y("loss:Q").scale(zero=False), color="rows:N")
""",
    ),
    (
        "export-text",
        "markdown",
        """
## Adapter and GGUF

The adapter is in `OUTPUT` already. For GGUF it is merged into the unquantized base, and every file is compared with the
merged model: for 7B that takes some 40 GB of memory and 90 GB of free disk. A machine with less says so; then
run the same command on a larger one, with the folder `OUTPUT/adapter`:

    stillhouse export --adapter adapter --base Qwen/Qwen2.5-7B-Instruct --quantize Q8_0 --output model

`Q8_0` (8 GB for 7B, fits the T4) needs nothing more; `Q4_K_M` and its like need llama-cpp-python, which pip compiles.
""",
    ),
    (
        "export",
        "code",
        """
model = WORK / "model"
given = ["--base", BASE, "--role", ROLE, "--quantize", QUANTIZE]
stillhouse("export", "--adapter", adapter, *given, "--output", model)
gguf = Path(json.loads((model / "export.json").read_text())["model"])
""",
    ),
    (
        "evaluate-text",
        "markdown",
        """
## Evaluation

The student is served while it answers the first `EVALUATED_ROWS` validation rows. Without `LLAMA_INDEX` the processor
answers, which takes minutes a row for 7B. These rows chose the checkpoint as well: rows that had no part in it are the
stricter test (`stillhouse evaluate`).
""",
    ),
    (
        "evaluate",
        "code",
        """
evaluated = WORK / "evaluated.jsonl"
with validation_rows.open("rb") as rows:
    evaluated.write_bytes(b"".join(islice(rows, EVALUATED_ROWS)))
serve = [sys.executable, "-m", "stillhouse.cli", "serve-student", str(gguf), "--port", str(PORT)]
with (WORK / "server.log").open("w") as log:
    server = subprocess.Popen(serve, stdout=log, stderr=subprocess.STDOUT)
try:
    given = ["--role", ROLE, "--max-tokens", MAX_TOKENS, "--wait", 300, "--student", f"127.0.0.1:{PORT}"]
    answers = ["--output", OUTPUT / "evaluation.json", "--rows-output", OUTPUT / "answers.jsonl"]
    stillhouse("evaluate", *given, "--validation", evaluated, *answers)
finally:
    server.terminate()
    server.wait()
""",
    ),
    (
        "download",
        "code",
        """
results = [*adapter.iterdir(), OUTPUT / "evaluation.json", OUTPUT / "answers.jsonl", *model.iterdir()]
for path in sorted(results):
    print(f"{path.stat().st_size / 1e6:>10,.1f} MB  {path}")
if on_colab:
    files.download(str(gguf))
""",
    ),
)


def notebook() -> dict[str, Any]:
    """The notebook as JSON, without outputs."""
    return {
        "cells": [_cell(*cell) for cell in CELLS],
        "metadata": {
            "accelerator": "GPU",
            "colab": {"gpuType": "T4", "provenance": []},
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cell(identity: str, kind: str, text: str) -> dict[str, Any]:
    cell = {"cell_type": kind, "id": identity, "metadata": {}, "source": text.strip().splitlines(keepends=True)}
    return cell | {"execution_count": None, "outputs": []} if kind == "code" else cell


if __name__ == "__main__":
    json.dump(notebook(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
