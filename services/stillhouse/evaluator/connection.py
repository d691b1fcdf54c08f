"""A student over gRPC, as the evaluator asks it; waits until it is there.

Called by `__main__`'s operation and by `stillhouse evaluate`. The only module here that knows the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic

from stillhouse.client.student import GenerationOptions, StudentClient
from stillhouse.client.waiting import wait_until_ready
from stillhouse.evaluator.student import Question, StudentAnswer

ROW_DEADLINE_SECONDS = 600.0


class RemoteStudent:
    """A student server."""

    def __init__(self, client: StudentClient, model_sha256: str, slots: int, *, deadline_seconds: float) -> None:
        """`deadline_seconds` is for one answer."""
        self._client = client
        self._model_sha256 = model_sha256
        self.slots = slots
        """Requests that it answers at a time."""
        self._deadline_seconds = deadline_seconds

    @property
    def address(self) -> str:
        """host:port."""
        return self._client.address

    def model_sha256(self) -> str:
        """What the server said when it was connected to; empty where it names no digest."""
        return self._model_sha256

    def generate(self, question: Question) -> StudentAnswer:
        """One answer; seconds are this side's wall seconds. Raises the errors of `stillhouse.errors`."""
        options = GenerationOptions(
            temperature=question.temperature,
            max_tokens=question.max_tokens,
            seed=question.seed,
            cache_prompt=question.cache_prompt,
            shared_prefix=question.cache_prompt,
            grammar=question.grammar or None,
        )
        started = monotonic()
        answer = self._client.generate(list(question.messages), options, deadline_seconds=self._deadline_seconds)
        return StudentAnswer(
            text=answer.text,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            seconds=monotonic() - started,
            model_sha256=answer.model_sha256,
        )


@contextmanager
def connect(
    address: str,
    *,
    token: str | None = None,
    ca: Path | None = None,
    wait_seconds: float = 30.0,
    deadline_seconds: float = ROW_DEADLINE_SECONDS,
    stopping: Event | None = None,
) -> Iterator[RemoteStudent]:
    """The student at host:port, once it answers (a server that loads its model does not yet).

    Raises as `wait_until_ready` does.
    """
    # Whoever asks waits and asks again: retries of the channel below would multiply the pauses.
    with StudentClient(address, token=token, ca=ca, retries=False) as client:
        info = wait_until_ready(client, wait_seconds=wait_seconds, stopping=stopping)
        yield RemoteStudent(client, info.model.sha256, info.slots, deadline_seconds=deadline_seconds)
