"""The benchmark of shared prefixes asks what it says, of a model so small that its figures mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gguf_fixture import tiny_gguf

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "shared_prefix.py"


def test_one_arm_reads_what_is_shared_once_and_the_other_in_each_slot(tmp_path: Path) -> None:
    output = tmp_path / "shared.json"
    small = ["--prefix-tokens", "300", "600", "--tokens", "4", "--rounds", "2", "--context", "1024", "--slots", "2"]
    command = [sys.executable, str(BENCHMARK), "--model", str(tiny_gguf(tmp_path)), *small]

    done = subprocess.run([*command, "--output", str(output)], capture_output=True, text=True, timeout=200, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads(output.read_text())
    assert [(run["arm"], run["prefix_tokens"]) for run in document["runs"]] == [
        *(("once", 300), ("each", 300), ("once", 600), ("each", 600)),
        *(("each", 300), ("once", 300), ("each", 600), ("once", 600)),
    ]
    for once, each in (document["runs"][:2], document["runs"][2:4]):
        assert once["read"] < 0.75 * each["read"]
    row = document["rows"][1]
    assert row["ratio"] == pytest.approx(row["each"] / row["once"])
    assert done.stdout.count("\n") == 3
