"""The benchmark of throughput asks what it says, of a model so small that its figures mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gguf_fixture import tiny_gguf

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "student_throughput.py"


def test_each_arm_reads_and_writes_in_each_round_and_ratios_are_reported(tmp_path: Path) -> None:
    output = tmp_path / "throughput.json"
    small = ["--prompt-tokens", "50", "100", "--tokens", "8", "--rounds", "1", "--context", "512", "--slots", "1", "2"]
    command = [sys.executable, str(BENCHMARK), "--model", str(tiny_gguf(tmp_path)), *small]

    done = subprocess.run([*command, "--output", str(output)], capture_output=True, text=True, timeout=200, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads(output.read_text())
    assert [(run["slots"], run["arm"], run["prompt_tokens"]) for run in document["runs"]] == [
        (slots, arm, tokens) for slots in (1, 2) for arm in ("stillhouse", "default") for tokens in (50, 100)
    ]
    ours, peer = (run for run in document["runs"] if (run["slots"], run["prompt_tokens"]) == (2, 100))
    assert document["rows"][3]["writing_ratio"] == pytest.approx(ours["writing"] / peer["writing"])
    assert done.stdout.count("\n") == 6
