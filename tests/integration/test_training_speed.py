"""The benchmark of training does what it says, on a model so small that its figures mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from exported_tiny import tiny_base

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "training_speed.py"


def test_both_trainers_do_the_same_work_and_a_ratio_is_reported(tmp_path: Path) -> None:
    tiny_base()
    output = tmp_path / "speed.json"
    command = [sys.executable, str(BENCHMARK), "--quick", "--steps", "2", "--precision", "float32"]

    done = subprocess.run([*command, "--output", str(output)], capture_output=True, text=True, timeout=500, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads(output.read_text())
    ours, peer = document["results"]
    assert ours["tokens"] == peer["tokens"] > 500
    assert ours["losses"][0] == pytest.approx(peer["losses"][0], abs=1e-3)
    assert document["ratios"]["float32"] == pytest.approx(ours["tokens_per_second"] / peer["tokens_per_second"])
    assert "times the tokens a second of transformers.Trainer + peft" in done.stdout
