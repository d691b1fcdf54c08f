"""The search for a prompt, as the report and a run's summary show it."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from report_run import HOSTILE, NAME, Writer, finished_run
from stillhouse.artifacts.store import Store
from stillhouse.cli.summary import print_evaluations
from stillhouse.controller.plan import Outcome, Plan, PlannedStep, StepState
from stillhouse.controller.runs import find_run
from stillhouse.errors import InvalidArgument
from stillhouse.programs.document import program_bytes
from stillhouse.programs.program import Demo, ModuleNode, Predictor, Program
from stillhouse.report.optimization import read_optimization
from stillhouse.report.page import render
from stillhouse.report.reading import read_report
from stillhouse.v1.optimizer_pb2 import OptimizeRequest, OptimizeResult


def candidate(instructions: int, demos: int) -> dict[str, Any]:
    return {"self": {"instructions": instructions, "demos": demos}}


def trial(number: int, kind: str, rows: int, score: float, which: dict[str, Any]) -> dict[str, Any]:
    figures = {"valid_rate": 1.0, "failures": {}}
    return {"number": number, "kind": kind, "rows": rows, "score": score, "candidate": which, **figures}


METADATA: dict[str, Any] = {
    "optimizer": "mipro_v2",
    "valset_size": 14,
    "trials": [
        trial(0, "full", 14, 0.912, candidate(0, 0)),
        trial(1, "minibatch", 5, 0.95, candidate(1, 1)),
        trial(2, "minibatch", 5, 0.85, candidate(0, 1)),
        trial(3, "full", 14, 0.934, candidate(1, 1)),
    ],
}


def program(instructions: str = "Write short sentences.") -> Program:
    predictor = Predictor(
        instructions=instructions,
        fields=(),
        demos=(Demo({"concept": "a diary"}),),
        config={},
        decisions={},
        lm=None,
        prompts_sha256="0" * 64,
    )
    return Program("product_owner", 1, {"self": ModuleNode("Predict")}, {"self": predictor}, ())


def optimized(store: Store, *, instructions: str = "Write short sentences.", **changes: Any) -> OptimizeResult:
    return OptimizeResult(
        program=store.put_bytes(program_bytes(program(instructions)), name="program.json"),
        metadata=store.put_bytes(json.dumps({**METADATA, **changes}).encode(), name="metadata.json"),
        baseline_score=0.912,
        score=0.934,
        trials=4,
        calls=52,
        cost_usd=0.02,
    )


def page_of(uri: str, **given: Any) -> str:
    store = Store.open(uri)
    writer: Writer = finished_run(store)
    writer.commit("optimize", "optimize", OptimizeRequest(), optimized(store, **given), seconds=90.0)
    writer.finish("succeeded")
    return render(read_report(store, find_run(store, NAME)))


def test_candidates_are_told_apart_whatever_they_are_called() -> None:
    store = Store.open("memory://optimization-read")
    made = read_optimization(store, optimized(store))
    assert (made.optimizer, made.rows, made.candidates) == ("MIPROv2", 14, 2)
    assert [(one.candidate, one.is_whole) for one in made.trials] == [(0, True), (1, False), (2, False), (1, True)]
    assert [(one.instructions, one.demos) for one in made.prompts] == [("Write short sentences.", 1)]


def test_what_is_no_optimizers_metadata_is_refused_by_name() -> None:
    store = Store.open("memory://optimization-broken")
    with pytest.raises(InvalidArgument, match=r"metadata\.json is no optimizer's: valset_size: "):
        read_optimization(store, optimized(store, valset_size="many"))


def test_the_page_shows_scores_instructions_and_every_trial() -> None:
    page = page_of("memory://optimization-page")
    section = page[page.index('id="prompt"') : page.index('id="findings"')]
    assert '<a href="#prompt">Prompt</a>' in page
    assert ">0.912</dd>" in section
    assert ">0.934</dd>" in section
    assert "2 candidates by MIPROv2" in section
    assert "Instructions, with 1 demo</h3>" in section
    assert '<pre dir="auto">Write short sentences.</pre>' in section
    assert section.count("<small>a part</small>") == 2
    assert "Nothing was better" not in section


def test_markup_in_instructions_is_text() -> None:
    page = page_of("memory://optimization-hostile", instructions=HOSTILE)
    assert HOSTILE not in page


def test_lost_metadata_are_said_and_the_rest_is_shown() -> None:
    page = page_of("memory://optimization-lost", trials="none")
    assert 'id="prompt"' not in page
    assert "Left out of this report: metadata.json" in page
    assert 'id="compared"' in page


def test_the_summary_of_a_run_has_the_prompt_in_a_line() -> None:
    store, file = Store.open("memory://optimization-summary"), io.StringIO()
    writer = Writer(store, [])
    writer.commit("optimize", "optimize", OptimizeRequest(), optimized(store), seconds=90.0)
    manifest = store.read_manifest("optimize", writer.steps[0]["key"])
    others = (PlannedStep(name, "", name, StepState.READY) for name in ("dataset", "train", "evaluate"))
    steps = (PlannedStep("optimize", "optimizer", "optimize", StepState.DONE, manifest=manifest), *others)
    print_evaluations(Console(file=file, width=100), Plan(steps, (), Outcome.SUCCEEDED), store)
    lines = file.getvalue().splitlines()
    assert "prompt    0.912 -> 0.934 on 14 rows, 2 candidates (MIPROv2)" in lines
    assert f"program   sha256:{optimized(store).program.sha256}" in lines
