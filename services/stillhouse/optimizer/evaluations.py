"""What DSPy's evaluations of a run found: scores as means of rows, failed rows by reason, the best program so far.

A callback of DSPy's, which may come from any thread and must not raise. It starts nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import dspy
from dspy.teleprompt.bootstrap_trace import FailedPrediction
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import AdapterParseError, ContextWindowExceededError, LMError, LMTimeoutError

from stillhouse.errors import StillhouseError
from stillhouse.optimizer.journal import RunEnded

NO_ANSWER = "no answer"
UNREADABLE = "unreadable answer"
TOO_LONG = "the prompt does not fit"
TOO_SLOW = "no answer in time"
REFUSED = "refused"


@dataclass(frozen=True)
class Evaluation:
    """One program on rows. `score` is the mean over all rows, failed ones counting 0; rates are in [0, 1]."""

    program: dspy.Module
    full: bool
    """On all validation rows."""
    rows: int
    score: float
    valid_rate: float
    """Rows with a readable answer."""
    failures: Mapping[str, int]
    """Rows without one, by reason."""
    first_failure: str = ""
    scores: tuple[float, ...] = ()
    """Of the validation rows, in their order; empty of a part of them."""


@dataclass
class _Running:
    program: dspy.Module
    total: int
    left: Counter[str]
    """Rows that are not done; DSPy calls one again that takes long, and counts it once."""
    calls: dict[str, str] = field(default_factory=dict)
    """Rows under way, by call."""
    failures: Counter[str] = field(default_factory=Counter)
    first_failure: str = ""


class Evaluations(BaseCallback):  # type: ignore[misc]
    """All evaluations of one pass, in order."""

    def __init__(self, validation: Sequence[dspy.Example], on_row: Callable[[Evaluations, int, int], None]) -> None:
        """`on_row` hears of every row, rows done of rows in all of the evaluation under way; 0 of 0 between two."""
        self._validation = [id(example) for example in validation]
        self._on_row = on_row
        self._lock = Lock()
        self._running: _Running | None = None
        self._over = False
        self.finished: list[Evaluation] = []

    @property
    def best(self) -> Evaluation | None:
        """The best program on all validation rows; the earliest of equals."""
        full = [evaluation for evaluation in self.finished if evaluation.full]
        return max(full, key=lambda evaluation: evaluation.score) if full else None

    @property
    def is_over(self) -> bool:
        """Nothing is added any more."""
        return self._over

    def close(self) -> None:
        """Ends the pass for the threads that DSPy leaves behind when a run ends: their next question is not put."""
        self._over = True

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:  # noqa: ARG002
        """Raises RunEnded once the pass is over."""
        if self._over:
            raise RunEnded(None)

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:  # noqa: ARG002
        """A call between two evaluations, for demos or instructions."""
        if self._running is None and not self._over:
            self._on_row(self, 0, 0)

    def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:  # noqa: ARG002
        """DSPy evaluates one program at a time."""
        given = inputs.get("devset")
        devset = instance.devset if given is None else given
        with self._lock:
            left = Counter(_row(dict(example.inputs().items())) for example in devset)
            self._running = _Running(inputs["program"], len(devset), left)

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """A row of the evaluation under way, where it is its program that is called."""
        with self._lock:
            if self._running is not None and instance is self._running.program:
                self._running.calls[call_id] = _row(inputs["kwargs"])

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """The row's answer, or why there is none; a row that the end of the run cut off is none."""
        with self._lock:
            running = self._running
            row = None if running is None else running.calls.pop(call_id, None)
            if running is None or row is None or not running.left[row] or isinstance(exception, RunEnded):
                return
            running.left[row] -= 1
            if (failure := _failure(outputs, exception)) is not None:
                running.failures[failure[0]] += 1
                running.first_failure = running.first_failure or failure[1]
            done, total = running.total - running.left.total(), running.total
        self._on_row(self, done, total)

    def on_evaluate_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:  # noqa: ARG002
        """The evaluation, unless it was cut off."""
        with self._lock:
            running, self._running = self._running, None
            if running is None or exception is not None or outputs is None:
                return
            scores = [float(score) for _, _, score in outputs.results]
            by_row = dict(zip((id(row) for row, _, _ in outputs.results), scores, strict=True))
            full = by_row.keys() == set(self._validation)
            self.finished.append(
                Evaluation(
                    program=running.program.deepcopy(),
                    full=full,
                    rows=len(scores),
                    score=sum(scores) / len(scores),
                    scores=tuple(by_row[row] for row in self._validation) if full else (),
                    valid_rate=1 - running.failures.total() / len(scores),
                    failures=dict(running.failures),
                    first_failure=running.first_failure,
                )
            )


def reason_of(error: Exception) -> str:
    """Why a row has no score, in the few words by which failed rows are counted."""
    if isinstance(error, AdapterParseError):
        return _reason_of_answer(error.lm_response)
    if isinstance(error, ContextWindowExceededError):
        return TOO_LONG
    if isinstance(error, LMTimeoutError):
        return TOO_SLOW
    if isinstance(error, LMError | StillhouseError):
        return REFUSED
    return type(error).__name__


def _reason_of_answer(text: str | None) -> str:
    return UNREADABLE if (text or "").strip() else NO_ANSWER


def _row(inputs: Mapping[str, Any]) -> str:
    return repr(sorted(inputs.items()))


def _failure(outputs: Any, exception: BaseException | None) -> tuple[str, str] | None:
    """Why a row has no answer, and in its own words. GEPA makes of an unreadable one a result, or a TypeError."""
    if isinstance(exception, Exception):
        unreadable = exception.__context__
        error = unreadable if isinstance(unreadable, AdapterParseError) else exception
        return reason_of(error), _words(error)
    if isinstance(outputs, tuple) and isinstance(outputs[0], FailedPrediction):
        text = outputs[0].completion_text
        return _reason_of_answer(text), f"it can't be read: {' '.join(text.split())[:200]}"
    return None


def _words(error: Exception) -> str:
    message = error.args[0] if isinstance(error, AdapterParseError) and error.args else str(error)
    return " ".join(str(message).split())[:300]
