"""The record of a run, and the lock that stages inherit."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from stillhouse.artifacts.store import Store
from stillhouse.controller.plan import Outcome, Plan, PlannedStep, StepState
from stillhouse.controller.runs import exclusive, find_run, list_runs, model_of, runner_pid, write_run
from stillhouse.errors import FailedPrecondition, NotFound, Unavailable
from stillhouse.spec.loading import parse_distillation

DISTILLATION = parse_distillation(
    {
        "apiVersion": "stillhouse.dev/v1alpha1",
        "kind": "Distillation",
        "metadata": {"name": "first"},
        "spec": {"role": "product_owner", "dataset": {"imports": [{"uri": "rows.jsonl"}]}},
    },
    source="test",
)
PLAN = Plan((PlannedStep("export", "exporter", "export", StepState.RUNNING, "a" * 64),), (), None)


def test_a_written_run_is_found_by_its_name() -> None:
    store = Store.open("memory://runs-found")
    write_run(store, DISTILLATION, PLAN)
    run = find_run(store, "first")
    assert run.steps == [{"name": "export", "stage": "export", "key": "a" * 64, "state": "running", "message": ""}]
    assert run.outcome == ""
    assert run.distillation["spec"]["role"] == "product_owner"
    assert list_runs(store) == ["first"]


def test_the_outcome_is_written() -> None:
    store = Store.open("memory://runs-outcome")
    write_run(store, DISTILLATION, Plan(PLAN.steps, (), Outcome.GATES_FAILED))
    assert find_run(store, "first").outcome == "gates failed"


def test_an_unknown_run_is_answered_with_the_known_ones() -> None:
    store = Store.open("memory://runs-unknown")
    write_run(store, DISTILLATION, PLAN)
    with pytest.raises(NotFound, match="runs there: first"):
        find_run(store, "second")


def test_a_run_without_an_exported_model_says_so() -> None:
    store = Store.open("memory://runs-unexported")
    write_run(store, DISTILLATION, PLAN)
    with pytest.raises(FailedPrecondition, match="no finished step 'export'"):
        model_of(store, find_run(store, "first"))


def test_a_second_runner_of_the_same_run_is_refused(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from stillhouse.controller.runs import exclusive
with exclusive(Path({str(tmp_path)!r})):
    print("held", flush=True)
    sys.stdin.read()
"""
    holder = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert runner_pid(tmp_path) == holder.pid
        with pytest.raises(Unavailable, match=f"under way already, as process {holder.pid}"), exclusive(tmp_path):
            pass
    assert runner_pid(tmp_path) is None


def test_a_run_waits_for_the_stages_of_a_killed_runner(tmp_path: Path) -> None:
    program = f"""
import os, subprocess, sys
from pathlib import Path
from stillhouse.controller.runs import exclusive
with exclusive(Path({str(tmp_path)!r})) as lock:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"], pass_fds=[lock])
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    started = time.monotonic()
    with exclusive(tmp_path):
        waited = time.monotonic() - started
    assert waited > 0.2
