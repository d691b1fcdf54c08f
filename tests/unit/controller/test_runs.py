"""The record of a run in its store."""

from __future__ import annotations

import pytest

from stillhouse.artifacts.store import Store
from stillhouse.controller.plan import Outcome, Plan, PlannedStep, StepState
from stillhouse.controller.runs import find_run, list_runs, model_of, write_run
from stillhouse.errors import FailedPrecondition, NotFound
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
