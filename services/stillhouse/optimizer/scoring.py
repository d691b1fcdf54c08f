"""The role's metric as DSPy's optimizers call one: a score in [0, 1], what may become a demo, and feedback for GEPA.

Called by DSPy from its threads. What the metric itself raises ends the run: DSPy would count it as a bad answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dspy

from stillhouse.errors import FailedPrecondition, StillhouseError
from stillhouse.optimizer.journal import Journal, RunEnded
from stillhouse.roles.metric_reference import Metric
from stillhouse.roles.role import MetricScore, Role


class Scoring:
    """One role's metric, or the user's own in its place."""

    def __init__(self, role: Role, metric: Metric | None, journal: Journal) -> None:
        """`metric` None: the role's."""
        self._role = role
        self._metric = metric
        self._journal = journal
        self.threshold = 0.0
        """Least score of a demo."""

    def score(self, example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> float:
        """The score; while demos are made (`trace` is there) 0 for an answer that is not to be one."""
        with self._ending_the_run():
            found = self._measure(example, prediction)
            if trace is not None and not self._is_demo(example, prediction, found.score):
                return 0.0
            return found.score

    def with_feedback(
        self,
        example: dspy.Example,
        prediction: dspy.Prediction,
        trace: object = None,  # noqa: ARG002 - as GEPA calls it
        pred_name: str | None = None,  # noqa: ARG002
        pred_trace: object = None,  # noqa: ARG002
    ) -> dspy.Prediction:
        """The score with what is wrong, in words, for an optimizer that reflects."""
        with self._ending_the_run():
            found = self._measure(example, prediction)
            outputs = self._outputs(prediction)
            wrong = [
                *self._role.problems(outputs),
                *(each.reason for each in self._role.guards(self._inputs(example), outputs, self._role.guard_names)),
            ]
            parts = ", ".join(f"{name} {value:g}" for name, value in sorted(found.parts.items()))
        said = f"The score is {found.score:.3f} of 1 ({parts})." + "".join(f" {problem}." for problem in wrong[:8])
        return dspy.Prediction(score=found.score, feedback=said)

    def _is_demo(self, example: dspy.Example, prediction: dspy.Prediction, score: float) -> bool:
        outputs = self._outputs(prediction)
        return (
            score >= self.threshold
            and not self._role.problems(outputs)
            and not self._role.guards(self._inputs(example), outputs, self._role.guard_names)
        )

    def _measure(self, example: dspy.Example, prediction: dspy.Prediction) -> MetricScore:
        score: Callable[[Any, Any], MetricScore] = self._metric or self._role.score
        return score(self._inputs(example), self._outputs(prediction))

    @contextmanager
    def _ending_the_run(self) -> Iterator[None]:
        try:
            yield
        except StillhouseError as exc:
            raise self._journal.end(RunEnded(exc)) from exc
        except Exception as exc:  # whatever a metric or a guard raises
            failed = FailedPrecondition(f"the metric of role {self._role.name} failed ({type(exc).__name__}: {exc})")
            raise self._journal.end(RunEnded(failed)) from exc

    def _inputs(self, example: dspy.Example) -> dict[str, str]:
        return {name: text for name in self._role.input_fields if (text := example.get(name, ""))}

    def _outputs(self, prediction: dspy.Prediction) -> dict[str, str]:
        return {name: str(prediction[name]) for name in self._role.output_fields if name in prediction}
