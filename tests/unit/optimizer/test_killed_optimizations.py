"""kill -9 at any moment: the same command again makes the program that an uninterrupted run makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "optimizing_program.py"


def killed(
    folder: Path, shape: str, optimizer: str, model: str, *, kills: int, seed: int = 1, hash_seed: str = "0"
) -> Any:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(PROGRAM), str(folder), shape, optimizer, model, str(kills), str(seed)]
    environment = {**os.environ, "TQDM_DISABLE": "1", "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def replayed(folder: Path, shape: str, optimizer: str) -> str:
    """The program of one more run, by an interpreter that orders sets otherwise; it asks nothing."""
    for log in folder.glob("*.asked"):
        log.unlink()
    again = killed(folder, shape, optimizer, "sampling", kills=0, hash_seed="2")
    assert again["asked"] == 0
    return str(again["sha256"])


@pytest.mark.parametrize("shape", ["predict", "pair"])
def test_ten_kills_leave_the_program_of_an_uninterrupted_run(tmp_path: Path, shape: str) -> None:
    result = killed(tmp_path, shape, "mipro_v2", "by-request", kills=10)
    assert result["cut"] > 0
    assert result["equals_fresh"]
    assert result["kept"] == result["asked_fresh"]
    assert result["asked"] - result["kept"] <= result["threads"] * result["cut"]


@pytest.mark.parametrize("shape", ["predict", "pair"])
def test_ten_kills_of_a_run_by_a_sampling_model_pay_at_most_an_answer_a_thread_twice(
    tmp_path: Path, shape: str
) -> None:
    result = killed(tmp_path, shape, "mipro_v2", "sampling", kills=10, seed=2)
    assert result["cut"] > 0
    assert result["asked"] - result["kept"] <= result["threads"] * result["cut"]
    assert replayed(tmp_path, shape, "mipro_v2") == result["sha256"]


@pytest.mark.parametrize("optimizer", ["bootstrap_few_shot", "gepa"])
def test_another_interpreter_replays_what_one_has_found(tmp_path: Path, optimizer: str) -> None:
    made = killed(tmp_path, "pair", optimizer, "sampling", kills=0)
    assert made["asked"] == made["kept"] > 0
    assert replayed(tmp_path, "pair", optimizer) == made["sha256"]


@pytest.mark.soak
@pytest.mark.parametrize("optimizer", ["mipro_v2", "bootstrap_few_shot", "gepa"])
@pytest.mark.parametrize("model", ["by-request", "sampling"])
def test_fifty_kills_of_every_optimizer(tmp_path: Path, optimizer: str, model: str) -> None:
    result = killed(tmp_path, "pair", optimizer, model, kills=50)
    assert result["asked"] - result["kept"] <= result["threads"] * result["cut"]
    assert result["equals_fresh"] or model == "sampling"
    assert replayed(tmp_path, "pair", optimizer) == result["sha256"]
