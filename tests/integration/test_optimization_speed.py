"""The benchmark of an optimisation's speed asks what it says, of a model so small that its figures mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gguf_fixture import tiny_gguf

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "optimization_speed.py"


def test_every_arm_makes_the_same_search_and_ratios_are_reported(tmp_path: Path) -> None:
    output = tmp_path / "speed.json"
    small = ["--rows", "3", "--candidates", "2", "--trials", "1", "--demos", "1", "--max-tokens", "24"]
    command = [sys.executable, str(BENCHMARK), "--model", str(tiny_gguf(tmp_path)), *small, "--scale", "1000"]

    done = subprocess.run([*command, "--output", str(output)], capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode in (0, 1), done.stderr[-2000:]
    document = json.loads(output.read_text())
    runs = {run["arm"]: run for run in document["runs"]}
    assert list(runs) == ["student", "plain", "local", "parallel"]
    assert runs["student"]["calls"] == runs["plain"]["calls"] > runs["plain"]["proposals"] > 0
    assert runs["student"]["completion_tokens"] == runs["plain"]["completion_tokens"] > 0
    assert runs["local"]["calls"] == runs["parallel"]["calls"]
    for arm in ("local", "parallel"):
        own = runs[arm]["elapsed_seconds_without_waits"]
        assert runs[arm]["seconds"] == pytest.approx((runs[arm]["elapsed_seconds"] - own) * 1000 + own)
    assert document["arms"]["local"]["ratio"] == pytest.approx(runs["local"]["seconds"] / runs["student"]["seconds"])
    assert (done.returncode == 1) == bool(document["missed"])


def test_a_student_held_to_the_grammar_is_compared_with_what_could_be_held_to_it(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARK), "--model", "student.gguf", "--grammar", "role", "--order", "student"]

    done = subprocess.run([*command, "plain"], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert "plain DSPy cannot hold rows to a grammar" in done.stderr
