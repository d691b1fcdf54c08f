"""Demos for several rows at a time: the same ones, and hardly a question more."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import dspy
import pytest
from dspy import lm15
from dspy.teleprompt import BootstrapFewShot, random_search, utils

from scripted_subject import QuizPair, ScriptedSubject, asked_fields, optimized
from stillhouse.artifacts.store import Store
from stillhouse.client.dspy import request_messages
from stillhouse.optimizer.models import Priced
from stillhouse.optimizer.optimization import Optimized
from stillhouse.optimizer.options import Optimizer
from stillhouse.programs.document import program_bytes

IN_TRAINING = [f"What is {number} and one?" for number in range(6)]
WITH_DEMOS = [Optimizer.MIPRO_V2, Optimizer.BOOTSTRAP_FEW_SHOT]


class Watched(ScriptedSubject):
    """Knows how many training rows were asked, and how many at a time."""

    def __init__(self) -> None:
        super().__init__(seconds=0.1)
        self.rows = 0
        self.most_rows = 0
        self._under_way = 0
        self._watching = Lock()

    def ask(self, request: lm15.Request) -> Priced:
        is_row = asked_fields(request) == ["answer", "comment"]
        if not is_row or not any(row in request_messages(request)[-1].content for row in IN_TRAINING):
            return super().ask(request)
        with self._watching:
            self.rows += 1
            self._under_way += 1
            self.most_rows = max(self.most_rows, self._under_way)
        try:
            return super().ask(request)
        finally:
            with self._watching:
                self._under_way -= 1


def run(folder: Path, subject: ScriptedSubject, **search: Any) -> Optimized:
    return optimized(Store.open(str(folder)), subject, **search)


def in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """DSPy's own way."""
    monkeypatch.setattr("stillhouse.optimizer.bootstrapping.BootstrapAhead", BootstrapFewShot)


@pytest.mark.parametrize("program", [None, QuizPair])
@pytest.mark.parametrize("optimizer", WITH_DEMOS)
def test_the_demos_are_those_of_dspys_own_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: Optimizer, program: type[dspy.Module] | None
) -> None:
    search: dict[str, Any] = {"optimizer": optimizer, "threads": 4, "demo_candidates": 5, "max_labeled_demos": 1}
    search |= {"program": program} if program else {}
    ahead = run(tmp_path / "ahead", ScriptedSubject(), **search)
    in_turn(monkeypatch)
    turn = run(tmp_path / "turn", ScriptedSubject(), **search)
    assert [demos(each.program) for each in ahead.found.evaluations] == [
        demos(each.program) for each in turn.found.evaluations
    ]
    assert any(any(demos(each.program)) for each in ahead.found.evaluations)
    assert program_bytes(ahead.program) == program_bytes(turn.program)


def demos(program: dspy.Module) -> list[list[dict[str, Any]]]:
    return [[dict(demo.items()) for demo in predictor.demos] for predictor in program.predictors()]


@pytest.mark.parametrize("optimizer", WITH_DEMOS)
def test_rows_are_asked_at_a_time_and_none_more_where_every_answer_makes_a_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: Optimizer
) -> None:
    search: dict[str, Any] = {
        "optimizer": optimizer,
        "threads": 4,
        "metric_threshold": 0.0,
        "max_bootstrapped_demos": 4,
    }
    ahead, turn = Watched(), Watched()
    run(tmp_path / "ahead", ahead, **search)
    in_turn(monkeypatch)
    run(tmp_path / "turn", turn, **search)
    assert ahead.most_rows > turn.most_rows == 1
    assert ahead.rows == turn.rows > 0


def test_where_few_answers_make_a_demo_all_threads_ask(tmp_path: Path) -> None:
    subject = Watched()
    run(tmp_path, subject, threads=3, metric_threshold=2.0, max_bootstrapped_demos=1)
    assert subject.most_rows == 3
    assert subject.rows == 6  # each once, for all sets ask alike without labelled demos


def test_dspy_has_its_own_way_back_afterwards(tmp_path: Path) -> None:
    run(tmp_path, ScriptedSubject())
    assert utils.BootstrapFewShot is random_search.BootstrapFewShot is BootstrapFewShot
