"""Rows that are held out judge what a search has found, once, and choose nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from scripted_subject import IMPROVABLE, ScriptedSubject, improvable, in_fields, optimized, quiz_rows
from stillhouse.artifacts.store import Store
from stillhouse.errors import Unavailable
from stillhouse.optimizer.usage import Limits
from stillhouse.programs.document import program_bytes
from stillhouse.v1.common_pb2 import Progress


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def test_rows_that_are_held_out_judge_the_result_and_choose_nothing(tmp_path: Path) -> None:
    without = optimized(Store.open(str(tmp_path / "without")), ScriptedSubject(improvable), **IMPROVABLE)
    told: list[Progress] = []
    store, held_out = Store.open(str(tmp_path / "with")), quiz_rows(5, start=500)
    run = optimized(store, ScriptedSubject(improvable), held_out=held_out, report=told.append, **IMPROVABLE)

    assert without.found.held_out is None
    assert program_bytes(run.program) == program_bytes(without.program)
    assert len(run.found.evaluations) == len(without.found.evaluations)
    assert run.found.held_out is not None
    assert [each.scores for each in run.found.held_out] == [(0.5,) * 5, (1.0,) * 5]
    assert {each.message for each in told[-5:]} == {"the rows that were held out"}
    subject = ScriptedSubject(improvable)
    again = optimized(store, subject, held_out=held_out, **IMPROVABLE)
    assert subject.asked == []
    assert again.found.held_out is not None
    assert [each.scores for each in again.found.held_out] == [each.scores for each in run.found.held_out]


def test_where_nothing_was_better_no_row_that_is_held_out_is_asked(store: Store) -> None:
    subject = ScriptedSubject(lambda text, fields: in_fields(dict.fromkeys(fields, "long enough")))
    run = optimized(store, subject, held_out=quiz_rows(5, start=500))
    assert run.found.held_out is None
    assert not any("What is 50" in text for text in subject.asked)


def test_a_limit_that_is_reached_while_the_result_is_judged_leaves_the_program(tmp_path: Path) -> None:
    whole = optimized(Store.open(str(tmp_path / "whole")), ScriptedSubject(improvable), **IMPROVABLE)
    limits, held_out = Limits(max_calls=whole.usage.calls + 2), quiz_rows(5, start=500)
    store = Store.open(str(tmp_path / "cut"))
    run = optimized(store, ScriptedSubject(improvable), limits=limits, held_out=held_out, **IMPROVABLE)
    assert (run.found.ended_by, run.found.held_out) == ("max_calls", None)
    assert program_bytes(run.program) == program_bytes(whole.program)


def test_a_model_that_goes_away_while_the_result_is_judged_ends_the_run(store: Store) -> None:
    def script(text: str, fields: Sequence[str]) -> str:
        if "What is 50" in text:
            raise Unavailable("it is away")
        return improvable(text, fields)

    with pytest.raises(Unavailable, match="it is away"):
        optimized(store, ScriptedSubject(script), held_out=quiz_rows(5, start=500), **IMPROVABLE)
