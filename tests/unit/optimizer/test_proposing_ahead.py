"""Instructions proposed several at a time: the same ones, of the same questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.propose import GroundedProposer

from scripted_subject import QuizPair, ScriptedSubject, optimized
from stillhouse.artifacts.store import Store
from stillhouse.programs.document import program_bytes


def run(folder: Path, **search: Any) -> tuple[Any, ScriptedSubject]:
    prompt = ScriptedSubject(seconds=0.05)
    made = optimized(Store.open(str(folder)), ScriptedSubject(), prompt=prompt, instruction_candidates=5, **search)
    return made, prompt


@pytest.mark.parametrize("program", [{}, {"program": QuizPair}], ids=["one predictor", "two"])
def test_the_instructions_and_the_questions_are_those_of_dspys_own_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: dict[str, type[dspy.Module]]
) -> None:
    ahead, asked_ahead = run(tmp_path / "ahead", threads=4, **program)
    monkeypatch.setattr("stillhouse.optimizer.proposing_ahead.ProposerAhead", GroundedProposer)
    turn, asked_in_turn = run(tmp_path / "turn", threads=4, **program)
    assert sorted(asked_ahead.asked) == sorted(asked_in_turn.asked)
    assert program_bytes(ahead.program) == program_bytes(turn.program)
    assert [each.score for each in ahead.found.evaluations] == [each.score for each in turn.found.evaluations]
    assert asked_in_turn.most_in_flight == 1
    # Three candidates for a predictor, and four threads.
    assert asked_ahead.most_in_flight == (4 if program else 3)


def test_one_thread_asks_one_at_a_time(tmp_path: Path) -> None:
    assert run(tmp_path, threads=1)[1].most_in_flight == 1
