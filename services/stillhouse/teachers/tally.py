"""Counts what `paid` does and tells it as events. Called by `paid` only, on its event loop."""

from __future__ import annotations

from dataclasses import replace

from stillhouse.artifacts.answers import LoggedAnswer
from stillhouse.errors import DeadlineExceeded, ResourceExhausted, StillhouseError, TemporaryError
from stillhouse.teachers.figures import CallEvent, EventKind, Figures, OnEvent
from stillhouse.teachers.prices import prompt_tokens_at_most
from stillhouse.teachers.teacher import Question

_BYTES_A_TOKEN = 4
_FIRST_OUTPUT_TOKENS = 1024
_WEIGHT_OF_THE_LAST = 0.1
_TROUBLES = {
    EventKind.THROTTLED: ("refuses calls for want of quota", "ask for a higher quota if that lasts"),
    EventKind.DEADLINE: ("does not answer in time", "allow a call more seconds if that lasts"),
    EventKind.UNAVAILABLE: ("is unavailable", "see that it is running and that the endpoint is right"),
}


class Tally:
    """Numbers of one teacher so far."""

    def __init__(self, model: str, on_event: OnEvent | None) -> None:
        """`model` stands in every event."""
        self._model = model
        self._on_event = on_event
        self._figures = Figures()
        self._mean_output_tokens = float(_FIRST_OUTPUT_TOKENS)
        self._failed_in_a_row = 0

    def figures(self, concurrency_limit: int) -> Figures:
        """The numbers now."""
        return replace(self._figures, concurrency_limit=concurrency_limit)

    def estimated_tokens(self, question: Question) -> int:
        """Tokens that a call is likely to use, prompt and answer, after what answers used so far."""
        output = min(self._mean_output_tokens, question.max_output_tokens)
        return round(prompt_tokens_at_most(question) / _BYTES_A_TOKEN + output)

    def started(self) -> None:
        """A call is under way."""
        self._add(in_flight=1)

    def ended(self) -> None:
        """It is not any more, however it ended."""
        self._add(in_flight=-1)

    def answered(self, answer: LoggedAnswer, output_tokens: int) -> None:
        """A paid answer is in the log; `output_tokens` includes thinking."""
        self._mean_output_tokens += _WEIGHT_OF_THE_LAST * (output_tokens - self._mean_output_tokens)
        self._failed_in_a_row = 0
        self._figures = replace(self._figures, trouble="")
        self._add(calls=1, prompt_tokens=answer.prompt_tokens, output_tokens=output_tokens, cost_usd=answer.cost_usd)
        self._tell(
            CallEvent(
                EventKind.ANSWERED,
                self._model,
                latency_seconds=answer.latency_seconds,
                prompt_tokens=answer.prompt_tokens,
                output_tokens=output_tokens,
                cost_usd=answer.cost_usd,
            )
        )

    def recalled(self, answer: LoggedAnswer, *, is_new: bool) -> None:
        """An answer was found in the log; `is_new`: for the first time, and not paid by this process."""
        self._add(from_log=1, log_cost_usd=answer.cost_usd if is_new else 0.0)
        self._tell(CallEvent(EventKind.FROM_LOG, self._model))

    def troubled(self, error: TemporaryError, pause_seconds: float) -> None:
        """A call failed and is made again."""
        if isinstance(error, ResourceExhausted):
            kind = EventKind.THROTTLED
            self._add(throttled=1)
        elif isinstance(error, DeadlineExceeded):
            kind = EventKind.DEADLINE
            self._add(deadlines=1)
        else:
            kind = EventKind.UNAVAILABLE
            self._add(unavailable=1)
        self._failed_in_a_row += 1
        trouble = self._words(kind, error.message, pause_seconds)
        self._figures = replace(self._figures, trouble=trouble)
        self._tell(CallEvent(kind, self._model, message=error.message, pause_seconds=pause_seconds))

    def failed(self, error: StillhouseError) -> None:
        """A question ended with an error."""
        self._tell(CallEvent(EventKind.FAILED, self._model, message=error.message))

    def _words(self, kind: EventKind, message: str, pause_seconds: float) -> str:
        what, remedy = _TROUBLES[kind]
        times = "once" if self._failed_in_a_row == 1 else f"{self._failed_in_a_row:,} times"
        cause = message.removeprefix(f"{self._model}: ")
        return f"{self._model} {what} ({times} so far), trying again in {pause_seconds:.0f} s; {remedy}: {cause}"

    def _add(self, **amounts: float) -> None:
        sums = {name: getattr(self._figures, name) + amount for name, amount in amounts.items()}
        self._figures = replace(self._figures, **sums)

    def _tell(self, event: CallEvent) -> None:
        if self._on_event is not None:
            self._on_event(event)
