"""How fast a training is and when it will be done, from what this attempt has measured."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from stillhouse.stages import TRAIN
from stillhouse.trainer.batches import Plan
from stillhouse.trainer.checkpoints import TrainState
from stillhouse.trainer.examples import TokenExample
from stillhouse.v1.common_pb2 import Progress

_WINDOW = 20
_EVALUATION_COST = 0.4
"""Of a training step's seconds a token, until the first evaluation was timed: no backward pass."""


class Pace:
    """Tokens a second over the last steps, and seconds left."""

    def __init__(
        self,
        plan: Plan,
        rows: Sequence[TokenExample],
        tuning_rows: Sequence[TokenExample],
        evaluation_steps: frozenset[int],
    ) -> None:
        self._plan = plan
        self._tokens_a_step = sum(row.length for row in rows) / max(1, plan.steps_per_epoch)
        self._tuning_tokens = sum(row.length for row in tuning_rows)
        self._evaluation_steps = evaluation_steps
        self._recent: deque[tuple[int, float]] = deque(maxlen=_WINDOW)
        self._evaluation_seconds: float | None = None

    def trained(self, tokens: int, seconds: float) -> None:
        """A step took that long."""
        self._recent.append((tokens, seconds))

    def evaluated(self, seconds: float) -> None:
        """An evaluation of the tuning rows took that long."""
        self._evaluation_seconds = seconds

    @property
    def tokens_per_second(self) -> float:
        """Prompt and answer tokens; 0 before the first step."""
        seconds = sum(seconds for _, seconds in self._recent)
        return sum(tokens for tokens, _ in self._recent) / seconds if seconds else 0.0

    def seconds_left(self, state: TrainState) -> float:
        """0 while it is unknown."""
        if not (speed := self.tokens_per_second):
            return 0.0
        evaluations = sum(step > state.evaluated_step for step in self._evaluation_steps)
        each = self._evaluation_seconds or _EVALUATION_COST * self._tuning_tokens / speed
        return (self._plan.steps - state.step) * self._tokens_a_step / speed + evaluations * each


def evaluation_progress(state: TrainState, pace: Pace, plan: Plan, *, rows: int, of: int) -> Progress:
    """The progress message while the tuning rows are evaluated: no step ends meanwhile, and it may take minutes."""
    return training_progress(state, pace, plan, message=f"evaluating tuning rows {rows} of {of}")


def training_progress(state: TrainState, pace: Pace, plan: Plan, *, message: str = "") -> Progress:
    """The progress message of a state with at least one finished step; its message is by default the epoch."""
    last = state.curve[-1]
    figures = {
        "loss": last["loss"],
        "learning_rate": last["learning_rate"],
        "tokens_per_second": pace.tokens_per_second,
        "trained_tokens": float(state.trained_tokens),
    }
    tuning = [row["tuning_loss"] for row in state.curve if "tuning_loss" in row]
    if tuning:
        figures["tuning_loss"] = tuning[-1]
    epoch = min((state.step - 1) // plan.steps_per_epoch + 1, plan.epochs)
    return Progress(
        stage=TRAIN.name,
        message=message or f"epoch {epoch} of {plan.epochs}",
        done=state.step,
        total=plan.steps,
        unit="steps",
        figures=figures,
        eta_seconds=pace.seconds_left(state),
    )
