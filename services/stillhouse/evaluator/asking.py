"""Asks a student each question once: kept answers come from the answer log, hiccups are waited out, failures counted.

Called by the evaluation. It knows neither scores nor gates, and the student only as a protocol.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from threading import Event
from time import monotonic

from stillhouse.artifacts.answers import AnswerLog, AnswerQuery, LoggedAnswer
from stillhouse.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    TemporaryError,
    Unavailable,
)
from stillhouse.evaluator.student import Question, Student, StudentAnswer

_LOOK_SECONDS = 0.2
MAX_DEADLINES = 2
"""A row that ran out of time that often is a failed row."""


@dataclass(frozen=True)
class FailedAnswer:
    """The student can't answer this question, however often it is asked."""

    reason: str
    """Error class in words, by which failures are counted: `deadline exceeded`."""
    message: str


@dataclass(frozen=True)
class Patience:
    """How long a student that is away is waited for."""

    away_seconds: float = 60.0
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 10.0
    asks_again: bool = True
    """False for a subject that waits and retries itself: what it raises is final."""


FINAL = Patience(asks_again=False)
"""For a teacher, below which every retry is made."""


class Interviewer:
    """Puts questions to one student, from any thread."""

    def __init__(
        self,
        student: Student,
        log: AnswerLog | None,
        *,
        stopping: Event | None = None,
        patience: Patience | None = None,
        concurrency: int = 1,
    ) -> None:
        """`concurrency` is how many questions are asked at a time; it is part of what an answer is kept under, for its
        seconds depend on it.

        Without a log, or where the student does not say which model it serves, every question is asked anew.

        Raises Unavailable where the student can't be reached.
        """
        self._student = student
        self.model_sha256 = student.model_sha256()
        self._log = log if self.model_sha256 else None
        self._stopping = stopping or Event()
        self._over = Event()
        self._patience = patience or Patience()
        self._load = {"concurrency": concurrency} if concurrency > 1 else {}

    def ask(self, question: Question) -> LoggedAnswer | FailedAnswer:
        """The answer, from the log where it is there.

        Raises Unavailable when the student stays away, FailedPrecondition when it serves another model by now,
        Cancelled when the evaluation is to stop, and what concerns the connection rather than the question.
        """
        query = self._query(question)
        kept = self._log.get(query) if self._log else None
        if kept is not None:
            return kept
        answer = self._ask_patiently(question) if self._patience.asks_again else self._ask_once(question)
        if isinstance(answer, FailedAnswer):
            return answer
        self._check_model(answer)
        logged = LoggedAnswer(
            text=answer.text,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            latency_seconds=answer.seconds,
            cost_usd=0.0,
            extra={},
        )
        return self._log.put(query, logged) if self._log else logged

    def end(self) -> None:
        """Nothing is asked any more, nor asked again."""
        self._over.set()

    def _query(self, question: Question) -> AnswerQuery:
        messages = [{"content": message.content, "role": message.role} for message in question.messages]
        return AnswerQuery(
            model=f"student:sha256:{self.model_sha256}",
            prompt=json.dumps(messages, sort_keys=True, ensure_ascii=False, separators=(",", ":")),
            parameters={
                "cache_prompt": question.cache_prompt,
                "grammar_sha256": sha256(question.grammar.encode()).hexdigest() if question.grammar else None,
                "max_tokens": question.max_tokens,
                "temperature": question.temperature,
                **self._load,
            },
            seed=question.seed,
        )

    def _ask_once(self, question: Question) -> StudentAnswer | FailedAnswer:
        self._check_stopping()
        try:
            return self._student.generate(question)
        except (InvalidArgument, DeadlineExceeded) as error:
            return _failed(error)

    def _ask_patiently(self, question: Question) -> StudentAnswer | FailedAnswer:
        deadlines = 0
        away_since: float | None = None
        pause = self._patience.first_pause_seconds
        while True:
            self._check_stopping()
            try:
                return self._student.generate(question)
            except InvalidArgument as error:
                return _failed(error)
            except DeadlineExceeded as error:
                deadlines += 1
                if deadlines >= MAX_DEADLINES:
                    return _failed(error)
            except (Unavailable, ResourceExhausted) as error:
                # A full server says when to come back; a prompt that does not fit never will.
                if isinstance(error, ResourceExhausted) and error.retry_after_seconds is None:
                    return _failed(error)
                away_since = self._still_waiting(away_since, error)
                pause = self._pause(pause, error.retry_after_seconds)

    def _check_stopping(self) -> None:
        if self._over.is_set() or self._stopping.is_set():
            raise Cancelled("stopped between two rows; the answers so far are kept, the same command goes on")

    def _still_waiting(self, away_since: float | None, error: TemporaryError) -> float:
        since = monotonic() if away_since is None else away_since
        if monotonic() - since >= self._patience.away_seconds:
            raise Unavailable(
                f"the student at {self._student.address} does not answer: {error.message} "
                "(stillhouse serve-student MODEL.gguf starts one; answers so far are kept)"
            ) from error
        return since

    def _pause(self, pause: float, retry_after_seconds: float | None) -> float:
        until = monotonic() + max(pause, min(retry_after_seconds or 0.0, self._patience.longest_pause_seconds))
        while (left := until - monotonic()) > 0 and not self._over.is_set():
            if self._stopping.wait(min(_LOOK_SECONDS, left)):
                break
        return min(2 * pause, self._patience.longest_pause_seconds)

    def _check_model(self, answer: StudentAnswer) -> None:
        if answer.model_sha256 and self.model_sha256 and answer.model_sha256 != self.model_sha256:
            raise FailedPrecondition(
                f"the student at {self._student.address} changed its model from {self.model_sha256[:12]} to "
                f"{answer.model_sha256[:12]} during the evaluation; evaluate again once it stays"
            )


def _failed(error: InvalidArgument | TemporaryError) -> FailedAnswer:
    words = {InvalidArgument: "refused", DeadlineExceeded: "deadline exceeded", ResourceExhausted: "does not fit"}
    return FailedAnswer(words.get(type(error), type(error).__name__), error.message)
