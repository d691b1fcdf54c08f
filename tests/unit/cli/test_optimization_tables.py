"""What an optimisation says for people: its gain, where that comes from, and what other rows make of it."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stillhouse.cli.optimization_tables import show_optimization

BETTER = {"rows": 34, "mean": 0.014, "low": 0.005, "high": 0.022, "wins": 18, "ties": 11, "losses": 5}
UNSURE = BETTER | {"low": -0.005}
WORSE = BETTER | {"mean": -0.042, "low": -0.08, "high": -0.015}
FEW = {"rows": 2, "mean": 0.5, "low": -1.0, "high": 1.0, "wins": 2, "ties": 0, "losses": 0}


def shown(
    difference: dict[str, Any] = BETTER,
    held_out: dict[str, Any] | None = None,
    *,
    score: float = 0.947,
    ended_by: str | None = None,
    not_asked: dict[str, Any] | None = None,
) -> str:
    scored = {"valid_rate": 1.0, "failures": {}}
    metadata: dict[str, Any] = {
        "optimizer": "mipro_v2",
        "parameters": {},
        "baseline": {"score": 0.933, **scored},
        "score": {"score": score, **scored},
        "difference": difference,
        "valset_size": 34,
        "trials": [{}] * 7,
        "ended_by": ended_by,
        **({"held_out": not_asked} if not_asked else {}),
        "candidates": {},
        "usage": {
            "calls": 209, "from_log": 37, "cost_usd": 0.0, "prompt_tokens": 642, "completion_tokens": 164,
            "cached_tokens": 495,
        },
    }  # fmt: skip
    if held_out is not None:
        judged = {"baseline": {"score": 0.946}, "score": {"score": 0.904}, "size": 34, "difference": held_out}
        metadata["held_out"] = judged
    screen = StringIO()
    show_optimization(Console(file=screen, width=100), metadata, Path("program"))
    assert max(map(len, screen.getvalue().splitlines())) <= 100
    return " ".join(screen.getvalue().split())


def test_the_gain_is_told_with_its_interval_and_the_rows_that_it_is_of() -> None:
    said = "+0.014, 95 % +0.005 to +0.022; 18 wins, 11 ties, 5 losses; on the rows that chose the program"
    assert said in shown()
    assert "held out" not in shown()


def test_few_rows_have_no_interval() -> None:
    assert "+0.500, too few rows for an interval; 2 wins" in shown(FEW)


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (BETTER, "on the held-out rows the program is better, too"),
        (UNSURE, "on the held-out rows the program is not surely better than the role's own prompt"),
        (WORSE, "on the held-out rows the role's own prompt is better: keep that"),
        (FEW, "on the held-out rows the program is not surely better"),
    ],
)
def test_rows_that_chose_nothing_say_what_to_do_with_the_program(difference: dict[str, Any], verdict: str) -> None:
    text = shown(held_out=difference)
    assert "own prompt 0.946, program 0.904 on 34 rows that chose nothing" in text
    assert verdict in text


@pytest.mark.parametrize("ended_by", [None, "max_calls"])
def test_rows_that_were_not_asked_say_nothing_but_why(ended_by: str | None) -> None:
    text = shown(score=0.933, ended_by=ended_by, not_asked={"path": "h.jsonl", "size": 34})
    assert "the program is that prompt" in text
    assert "on the held-out rows" not in text
    assert ("34 rows, not asked: max_calls was reached" in text) is bool(ended_by)
