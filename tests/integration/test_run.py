"""`stillhouse run` from data set to served student, with random weights."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

from stillhouse.client.student import StudentClient
from stillhouse.errors import TemporaryError
from tiny_run import FinishedRun, Machine


def command(machine: Machine, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stillhouse.cli", *arguments, "--store", str(machine.store)],
        env=machine.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_a_run_says_how_the_student_did_and_how_to_talk_to_it(finished: FinishedRun) -> None:
    assert "base model" in finished.output
    assert "all gates passed" in finished.output
    assert "stillhouse chat tiny" in finished.output


def test_the_same_command_again_finds_everything_done(finished: FinishedRun) -> None:
    before = finished.machine.manifests()
    output = finished.machine.run()
    assert ": running" not in output
    assert finished.machine.manifests() == before


def test_a_dry_run_says_that_everything_is_done(finished: FinishedRun) -> None:
    said = command(finished.machine, "run", str(finished.machine.spec), "--dry-run").stdout
    assert said.count(" done ") == 7


def test_a_changed_gate_repeats_the_evaluation_alone_and_asks_nothing_again(finished: FinishedRun) -> None:
    answers = sorted(path.name for path in finished.machine.store.glob("answers/**/*.json"))
    said = command(finished.machine, "run", str(finished.machine.spec), "--set", "evaluation.gates.minScore=0.99")
    assert said.returncode == 1
    started = re.findall(r"^[0-9:]+ (.+): running$", said.stdout, re.MULTILINE)
    assert started == ["evaluate"]
    assert "1 of 2 gates failed; everything made is kept" in said.stdout
    assert answers == sorted(path.name for path in finished.machine.store.glob("answers/**/*.json"))


def test_status_shows_every_step_and_the_outcome(finished: FinishedRun) -> None:
    finished.machine.run()
    said = command(finished.machine, "status", "tiny")
    assert said.returncode == 0
    assert "succeeded" in said.stdout
    assert said.stdout.count(" done ") == 7
    assert '"outcome": "succeeded"' in command(finished.machine, "status", "--json").stdout


def test_logs_prints_the_log_of_the_run(finished: FinishedRun) -> None:
    said = command(finished.machine, "logs", "tiny")
    assert said.returncode == 0
    assert '"stage": "train"' in said.stdout
    assert command(finished.machine, "logs", "tiny", "train").returncode == 2


def test_gc_spares_everything_that_a_manifest_names(finished: FinishedRun) -> None:
    blobs = sorted(finished.machine.store.glob("blobs/sha256/*"))
    assert command(finished.machine, "gc", "--older-than", "0").returncode == 0
    kept = set(finished.machine.store.glob("blobs/sha256/*"))
    assert kept <= set(blobs)
    before = finished.machine.manifests()
    finished.machine.run()
    assert finished.machine.manifests() == before


def test_run_serve_keeps_the_student_serving_until_interrupted(finished: FinishedRun) -> None:
    arguments = ["run", str(finished.machine.spec), "--store", str(finished.machine.store), "--serve"]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "stillhouse.cli", *arguments],
        env=finished.machine.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        address = ""
        for line in process.stdout:
            match = re.search(r"serving at (\S+:\d+)", line)
            if match:
                address = match[1]
                break
        with StudentClient(address) as client:
            deadline = time.monotonic() + 120
            while True:
                try:
                    digest = client.info().model.sha256
                    break
                except TemporaryError:
                    assert time.monotonic() < deadline
                    time.sleep(0.2)
        assert len(digest) == 64
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.stdout.close()
