"""metadata.json: where a program comes from."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from scripted_subject import (
    IMPROVABLE,
    ROLE,
    QuizPair,
    ScriptedSubject,
    half_readable,
    improvable,
    optimized,
    options,
    quiz_rows,
)
from stillhouse.artifacts.store import Store
from stillhouse.optimizer.metadata import DataSet, Names, metadata_document
from stillhouse.optimizer.optimization import Optimized
from stillhouse.optimizer.usage import Limits
from stillhouse.programs.document import json_bytes
from stillhouse.v1.optimizer_pb2 import PROMPT_OPTIMIZER_MIPRO_V2, OptimizeRequest
from stillhouse.v1.teacher_pb2 import TeacherModel

REQUEST = OptimizeRequest(
    min_baseline_valid=0.25,
    max_tokens=200,
    temperature=0.5,
    optimizer=PROMPT_OPTIMIZER_MIPRO_V2,
    prompt_model=TeacherModel(provider="two", model="two", max_output_tokens=99, temperature=0.75),
    max_calls=500,
    store_uri="s3://secret-bucket",
    student_address="student.internal:50051",
    train_source="t.jsonl",
)
NAMES = Names("student/one", "teacher/two", "student/one")
HELD_OUT = DataSet("h.jsonl", "cc" * 32, 4)
ROWS = (DataSet("t.jsonl", "aa" * 32, 6), DataSet("v.jsonl", "bb" * 32, 9))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def document(run: Optimized) -> dict[str, Any]:
    made = metadata_document(
        REQUEST,
        ROLE,
        options(seed=3),
        run,
        names=NAMES,
        metric_version=3,
        train=ROWS[0],
        validation=ROWS[1],
        held_out=HELD_OUT,
        seconds=12.5,
    )
    read: dict[str, Any] = json.loads(json_bytes(json.loads(json.dumps(made))))
    return read


def test_it_names_role_rows_models_seed_versions_and_use(store: Store) -> None:
    run = optimized(store, ScriptedSubject(cost_usd=0.5))
    made = document(run)
    assert (made["role"], made["role_version"], made["optimizer"], made["seed"]) == ("quiz", 3, "mipro_v2", 3)
    assert made["metric"] == {"name": "quiz", "version": 3}
    assert made["models"] == {"task": "student/one", "prompt": "teacher/two", "demo": "student/one"}
    assert made["trainset"] == {"path": "t.jsonl", "sha256": "aa" * 32}
    assert (made["trainset_size"], made["valset_size"]) == (6, 8)
    assert made["parameters"]["trials"] == 3
    assert (made["parameters"]["min_baseline_valid"], made["parameters"]["max_tokens"]) == (0.25, 200)
    assert made["parameters"]["prompt_model"] == {"max_tokens": 99, "temperature": 0.75}
    assert made["parameters"]["max_calls"] == 500
    assert not {"demo_model", "max_cost_usd"} & set(made["parameters"])
    assert "idle" not in made
    assert {name: version(name) for name in ("dspy", "optuna", "gepa", "stillhouse")} == made["libraries"]
    assert made["usage"] == {
        "calls": run.usage.calls,
        "prompt_tokens": 10 * run.usage.calls,
        "cached_tokens": 2 * run.usage.calls,
        "completion_tokens": 5 * run.usage.calls,
        "cost_usd": 0.5 * run.usage.calls,
        "from_log": 0,
        "seconds": 12.5,
    }


def test_what_concerns_execution_only_is_not_in_it(store: Store) -> None:
    text = json.dumps(document(optimized(store, ScriptedSubject())))
    assert "secret-bucket" not in text
    assert "internal" not in text


def test_every_trial_has_its_score_and_its_failed_rows(store: Store) -> None:
    run = optimized(store, ScriptedSubject(half_readable), minibatch=True, minibatch_size=3)
    made = document(run)
    assert [trial["number"] for trial in made["trials"]] == list(range(len(run.found.evaluations)))
    assert {(trial["kind"], trial["rows"]) for trial in made["trials"]} == {("full", 8), ("minibatch", 3)}
    assert made["trials"][0] | made["baseline"] == made["trials"][0]
    assert made["baseline"] == {
        "score": run.found.baseline.score,
        "valid_rate": 0.5,
        "failures": {"unreadable answer": 4},
    }
    assert made["score"]["score"] == run.found.best.score
    assert made["difference"]["mean"] == pytest.approx(run.found.best.score - run.found.baseline.score)
    assert made["difference"]["rows"] == len(run.found.best.scores) == 8
    assert all(0 <= trial[figure] <= 1 for trial in made["trials"] for figure in ("score", "valid_rate"))
    assert made["ended_by"] is None


def test_what_the_held_out_rows_say_is_in_it_where_they_were_asked(store: Store) -> None:
    rows = {"path": "h.jsonl", "sha256": "cc" * 32, "size": 4}
    assert document(optimized(store, ScriptedSubject()))["held_out"] == rows
    held_out = quiz_rows(4, start=500)
    run = optimized(store, ScriptedSubject(improvable), held_out=held_out, **IMPROVABLE)
    assert run.found.held_out is not None
    told = document(run)["held_out"]
    assert (told["path"], told["size"], told["difference"]["rows"]) == ("h.jsonl", 4, 4)
    assert [told[each]["score"] for each in ("baseline", "score")] == [each.score for each in run.found.held_out]


def test_candidates_are_numbered_by_predictor_as_they_occurred(store: Store) -> None:
    run = optimized(store, ScriptedSubject(), program=QuizPair, trials=6)
    made = document(run)
    assert set(made["candidates"]) == {"reply", "remark"}
    assert made["trials"][0]["candidate"] == {name: {"instructions": 0, "demos": 0} for name in ("reply", "remark")}
    for trial, evaluation in zip(made["trials"], run.found.evaluations, strict=True):
        for name, predictor in evaluation.program.named_predictors():
            kept, numbers = made["candidates"][name], trial["candidate"][name]
            assert kept["instructions"][numbers["instructions"]] == predictor.signature.instructions
            assert kept["demos"][numbers["demos"]] == [dict(demo.items()) for demo in predictor.demos]
    for each in made["candidates"].values():
        assert len(set(each["instructions"])) == len(each["instructions"])
    best = {name: numbers["demos"] for name, numbers in made["score"]["candidate"].items()}
    kept_demos = [len(made["candidates"][name]["demos"][number]) for name, number in best.items()]
    assert kept_demos == [len(run.program.predictors[name].demos) for name in best]


def test_the_limit_that_ended_it_is_named(store: Store) -> None:
    assert document(optimized(store, ScriptedSubject(), limits=Limits(max_calls=20)))["ended_by"] == "max_calls"
