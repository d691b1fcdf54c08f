"""The language models of an optimisation, as DSPy calls them: every call goes through the journal, and is retried here.

Called by the stage. A student is asked over gRPC, anything else as a teacher of `stillhouse.teachers`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future, wait
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from threading import Event, Thread
from time import monotonic
from typing import Any, Protocol, TypeVar

import dspy
from dspy import lm15

from stillhouse.artifacts.answers import LoggedAnswer
from stillhouse.client.dspy import StudentEngine, request_messages
from stillhouse.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    ResourceExhausted,
    StillhouseError,
    TemporaryError,
    Unavailable,
)
from stillhouse.optimizer.journal import BilledRefusal, Journal
from stillhouse.optimizer.logged_calls import logged, response_of
from stillhouse.teachers.dialogue import MAX_OUTPUT_TOKENS
from stillhouse.teachers.paid import PaidTeacher
from stillhouse.teachers.prices import FREE, Price, price_of
from stillhouse.teachers.purse import Purse, open_paid_teacher
from stillhouse.teachers.teacher import FinishReason, Question
from stillhouse.v1.teacher_pb2 import TeacherModel

ResultT = TypeVar("ResultT")

_FINISHED = {
    FinishReason.STOP.value: "stop",
    FinishReason.LENGTH.value: "length",
    # An answer of no text, of which thinking took all tokens: it was paid for, and fails its row as an empty one.
    FinishReason.EMPTY.value: "length",
}
_FEWEST_DEADLINES = 2
"""A question that ran out of time that often, and for longer than patience lasts, fails its row."""
_LOOK_SECONDS = 0.5
_PROPOSAL_TOKENS = 512
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 15.0


@dataclass(frozen=True)
class Priced:
    """A response, and what it cost."""

    response: lm15.Response
    cost_usd: float = 0.0


class Subject(Protocol):
    """A model that answers DSPy's requests. Raises lm15's errors for a refusal, Stillhouse's for what ends the run."""

    def maximum_usd(self, request: lm15.Request) -> float:
        """What the answer costs at most."""
        ...

    def ask(self, request: lm15.Request) -> Priced:
        """The answer."""
        ...


class JournaledEngine:
    """What `dspy.LM` calls: keeps every answer, and ends the run for what does not pass."""

    supports_response_schema = False
    supported_params = frozenset({"temperature", "max_tokens", "seed", "top_p", "top_k", "stop"})

    def __init__(self, subject: Subject, journal: Journal) -> None:
        """`subject` retries what is worth it."""
        self._subject = subject
        self._journal = journal

    def complete(self, request: lm15.Request) -> lm15.Response:
        """The answer. Raises lm15's errors for a question that is refused, RunEnded for the end of the run."""
        with self._journal.call(lambda: self._subject.maximum_usd(request)) as keep:
            started = monotonic()
            priced = self._subject.ask(request)
            kept = keep(logged(priced.response, latency_seconds=monotonic() - started, cost_usd=priced.cost_usd))
        # What is in the log and nothing else, so that a replay reads the same.
        return response_of(request.model, kept)


class StudentSubject:
    """A student over gRPC, held to the role's grammar where its engine is; it is waited for while it is away."""

    def __init__(self, engine: StudentEngine, *, stopping: Event, patience_seconds: float) -> None:
        """`engine` makes each call once; `patience_seconds` is for a student that is away, from its first failure."""
        self._engine = engine
        self._stopping = stopping
        self._patience_seconds = patience_seconds
        self._random = random.Random()  # noqa: S311 - it spreads pauses

    def maximum_usd(self, request: lm15.Request) -> float:  # noqa: ARG002
        """A student is the user's own."""
        return 0.0

    def ask(self, request: lm15.Request) -> Priced:
        """The answer. Raises lm15's errors where the student refuses the question."""
        since, pause, deadlines = monotonic(), _FIRST_PAUSE_SECONDS, 0
        away_since: float | None = None
        while True:
            try:
                return Priced(self._ask_once(request))
            except DeadlineExceeded as error:
                deadlines, away_since = deadlines + 1, None
                if deadlines >= _FEWEST_DEADLINES and monotonic() - since >= self._patience_seconds:
                    raise lm15.TimeoutError(f"{error.message}, {deadlines} times") from error
                self._wait(pause, error)
            except TemporaryError as error:
                away_since = monotonic() if away_since is None else away_since
                seconds = max(pause * self._random.uniform(0.75, 1.25), error.retry_after_seconds or 0.0)
                if monotonic() - away_since + seconds > self._patience_seconds:
                    raise
                self._wait(seconds, error)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _wait(self, seconds: float, error: TemporaryError) -> None:
        if self._stopping.wait(seconds):
            raise Cancelled(f"stopped while the student was away: {error.message}") from error

    def _ask_once(self, request: lm15.Request) -> lm15.Response:
        try:
            return self._engine.complete(request)
        except lm15.LM15Error as error:
            cause = error.__cause__
            if isinstance(cause, Cancelled):
                # By the server, which drains, or by a proxy: nobody here asked for it.
                raise Unavailable(cause.message) from error
            if isinstance(cause, ResourceExhausted) and cause.retry_after_seconds is None:
                raise lm15.ContextLengthError(cause.message) from cause
            if isinstance(cause, InvalidArgument) or not isinstance(cause, StillhouseError):
                raise
            raise cause from error


class TeacherSubject:
    """A teacher, asked from any thread; its own loop runs in one thread of its own."""

    def __init__(
        self,
        teacher: PaidTeacher,
        price: Price,
        model: TeacherModel,
        loop: asyncio.AbstractEventLoop,
        stopping: Event,
    ) -> None:
        """Made by `open_teacher_subject`."""
        self._teacher = teacher
        self._price = price
        self._model = model
        self._loop = loop
        self._stopping = stopping

    def maximum_usd(self, request: lm15.Request) -> float:
        """By the teacher's price."""
        return self._price.maximum(self._question(request))

    def ask(self, request: lm15.Request) -> Priced:
        """One question, retried by the teacher itself. Raises lm15.InvalidRequestError for what it refuses."""
        asking = asyncio.run_coroutine_threadsafe(self._teacher.ask(self._question(request)), self._loop)
        try:
            answer = self._landed(asking)
        except InvalidArgument as exc:
            raise lm15.InvalidRequestError(exc.message) from exc
        output_tokens = answer.completion_tokens + int(answer.extra.get("thinking_tokens", "0"))
        finish = _FINISHED.get(answer.finish_reason)
        if finish is None:
            reason = answer.extra.get("detail") or answer.finish_reason
            raise BilledRefusal(
                f"{self._teacher.identity} gave no answer: {reason}", replace(answer, completion_tokens=output_tokens)
            )
        response = lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(answer.text),
            finish_reason=finish,
            usage=lm15.Usage(input_tokens=answer.prompt_tokens, output_tokens=output_tokens),
        )
        return Priced(response, answer.cost_usd)

    def _landed(self, asking: Future[LoggedAnswer]) -> LoggedAnswer:
        """Its answer. A run that is stopped waits for a call that is made, not for one that will be tried again."""
        while not wait([asking], timeout=_LOOK_SECONDS).done:
            if self._stopping.is_set():
                _in(self._loop, self._teacher.drain())
        return asking.result()

    def _question(self, request: lm15.Request) -> Question:
        config = request.config
        return Question(
            messages=tuple(request_messages(request)),
            max_output_tokens=min(config.max_tokens or MAX_OUTPUT_TOKENS, MAX_OUTPUT_TOKENS),
            temperature=self._model.temperature if config.temperature is None else config.temperature,
            seed=config.seed or 0,
            thinking_budget=self._model.thinking_budget if self._model.HasField("thinking_budget") else None,
        )


@contextmanager
def open_teacher_subject(
    model: TeacherModel, purse: Purse, stopping: Event
) -> Iterator[tuple[TeacherSubject, PaidTeacher]]:
    """The teacher of a reference on a loop of its own, closed afterwards. Raises what opening it raises."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="teacher", daemon=True)
    thread.start()
    stack = AsyncExitStack()
    try:
        teacher = _in(loop, stack.enter_async_context(open_paid_teacher(model, purse, logged=False)))
        yield TeacherSubject(teacher, price_of(model, purse.prices) or FREE, model, loop, stopping), teacher
    finally:
        _in(loop, stack.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def teacher_name(teacher: PaidTeacher, model: TeacherModel) -> str:
    """What a language model is called that a teacher answers; it tells apart what DSPy's requests don't.

    DSPy takes what follows the last slash for the provider's own name, and refuses settings that it thinks a `gpt-5`
    can't have; the teacher knows better.
    """
    thinking = f"?thinking={model.thinking_budget}" if model.HasField("thinking_budget") else ""
    return f"teacher/{teacher.identity.replace('/', '|')}{thinking}"


def _in(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, ResultT]) -> ResultT:
    return asyncio.run_coroutine_threadsafe(work, loop).result()


def proposing(student: dspy.LM) -> dspy.LM:
    """A student that proposes instructions itself: they are short, and a small model that finds no end writes to the
    limit, one proposal after the other.
    """
    return student.copy(max_tokens=min(student.kwargs["max_tokens"], _PROPOSAL_TOKENS))


def language_model(name: str, subject: Subject, journal: Journal, *, max_tokens: int, temperature: float) -> dspy.LM:
    """The `dspy.LM` whose calls are in the journal; `name` says which model, with its digest and constraint."""
    engine = JournaledEngine(subject, journal)
    return dspy.LM(name, engine=engine, max_tokens=max_tokens, temperature=temperature, num_retries=0)
