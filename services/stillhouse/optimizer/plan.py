"""What a search is made of. Put together by the stage; carried out by the search and the optimizers below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dspy

from stillhouse.optimizer.options import Options
from stillhouse.optimizer.scoring import Scoring


@dataclass(frozen=True)
class Models:
    """Who answers: the model that the prompt is for, who proposes instructions, who writes the demos."""

    task: dspy.LM
    prompt: dspy.LM
    demo: dspy.LM | None
    threads: int
    """Rows asked at a time."""


@dataclass(frozen=True)
class Search:
    """Everything that decides what is found, but for the answers."""

    program: Callable[[], dspy.Module]
    """Makes the role's own program."""
    options: Options
    models: Models
    scoring: Scoring
    train: Sequence[dspy.Example]
    validation: Sequence[dspy.Example]
    min_baseline_valid: float
    """Least fraction of readable answers to the role's own prompt, in [0, 1]."""
    held_out: Sequence[dspy.Example] = ()
    """Rows that the result is judged by once it is found; empty: it is not."""
