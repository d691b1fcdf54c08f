"""A teacher whose every answer is paid once: answer log, budget, pace and retries around one provider's calls.

Called by whoever asks a model for answers. The only layer that retries; it must not know roles, stages or providers.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import rfc8785

from stillhouse.artifacts.answers import AnswerLog, AnswerQuery, LoggedAnswer
from stillhouse.dataset.digest_set import DigestSet
from stillhouse.errors import Cancelled, InvalidArgument, ResourceExhausted, StillhouseError, TemporaryError
from stillhouse.teachers.budget import Budget
from stillhouse.teachers.clock import Clock, SystemClock
from stillhouse.teachers.figures import Figures, OnEvent
from stillhouse.teachers.pacing import Pacer, Turn
from stillhouse.teachers.patience import Patience, ServerHealth, Trouble
from stillhouse.teachers.prices import FREE, Price
from stillhouse.teachers.tally import Tally
from stillhouse.teachers.teacher import Answer, Question, Teacher
from stillhouse.teachers.traced import traced_ask

DEFAULT_DEADLINE_SECONDS = 300.0
_LOG_THREADS = 16
_STOPPED = "stopped before this question was answered; answers so far are kept, the same command goes on"

ResultT = TypeVar("ResultT")


@dataclass(eq=False)
class _Flight:
    """One key that is being asked about, and how many wait for it."""

    query: AnswerQuery
    key: str
    question: Question
    task: asyncio.Task[LoggedAnswer] = field(init=False)
    waiting: int = 0
    calling: bool = False
    """A call is under way, or its answer on its way to the log: it is paid, so it is not given up."""
    leaving: bool = False
    """Nobody waits any more: no further call. Who asks again during the last one joins it."""


class PaidTeacher:
    """One teacher, asked through the log."""

    def __init__(
        self,
        teacher: Teacher,
        *,
        log: AnswerLog | None = None,
        price: Price | None = None,
        budget: Budget | None = None,
        pacer: Pacer | None = None,
        patience: Patience | None = None,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
        on_event: OnEvent | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`budget` and `log` may be shared with other teachers; `deadline_seconds` is for one call.

        Without a log every question is asked anew. Raises InvalidArgument where the budget has a limit and the model
        no known price.
        """
        self.identity = teacher.identity
        self._teacher = teacher
        self._log = log
        self._budget = budget or Budget(None)
        if price is None and self._budget.limit_usd is not None:
            raise InvalidArgument(
                f"the price of {teacher.identity} is not known, so that the budget can't be kept; name it in "
                "dataset.teacher.prices",
                field="dataset.teacher.prices",
            )
        self._price = price or FREE
        self._clock = clock or SystemClock()
        self._pacer = pacer or Pacer(clock=self._clock)
        self._patience = patience or Patience()
        self._health = ServerHealth(self._clock)
        self._deadline_seconds = deadline_seconds
        self._tally = Tally(teacher.identity, on_event)
        self._random = rng or random.Random()  # noqa: S311 - it spreads pauses
        self._flights: dict[str, _Flight] = {}
        self._draining = False
        # 8 bytes of each key whose cost the budget knows.
        self._counted = DigestSet()
        self._threads = ThreadPoolExecutor(_LOG_THREADS, thread_name_prefix="answer-log")

    @property
    def figures(self) -> Figures:
        """The numbers now."""
        return self._tally.figures(self._pacer.limit)

    def query(self, question: Question, attempt: int = 0) -> AnswerQuery:
        """What the log knows this question by. Raises InvalidArgument for text that is no Unicode."""
        schema = question.response_schema
        return AnswerQuery(
            model=self.identity,
            prompt=_canonical([{"content": each.content, "role": each.role} for each in question.messages]),
            parameters={
                "max_output_tokens": question.max_output_tokens,
                "temperature": question.temperature,
                "thinking_budget": question.thinking_budget,
                "response_schema_sha256": None if schema is None else _sha256(_canonical(schema)),
            },
            seed=question.seed,
            attempt=attempt,
        )

    async def recall(self, question: Question, *, attempt: int = 0) -> LoggedAnswer | None:
        """The answer if it is in the log; never a call. The budget learns what it cost, once.

        Raises what the store raises.
        """
        query = self.query(question, attempt)
        return await self._recall(query, query.digest())

    async def ask(self, question: Question, *, attempt: int = 0) -> LoggedAnswer:
        """The answer: from the log, or paid, and in the log before it is counted. Equal questions share one call.

        Cancelling the last that waits ends the question, but not a call under way: its answer still reaches the log.
        Raises FailedPrecondition (budget spent), Unavailable, ResourceExhausted or DeadlineExceeded when patience is
        used up, PermissionDenied, NotFound, InvalidArgument, Cancelled after `drain`, and what the store raises.
        """
        if self._draining:
            raise Cancelled(_STOPPED)
        query = self.query(question, attempt)
        key = query.digest()
        flight = self._flights.get(key)
        if flight is None or (flight.leaving and not flight.calling):
            flight = self._depart(_Flight(query, key, question))
        flight.leaving = False
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.task.cancelled() and self._draining:
                raise Cancelled(_STOPPED) from None
            raise
        finally:
            flight.waiting -= 1
            if flight.waiting == 0:
                self._abandon(flight)

    async def drain(self) -> None:
        """No further call starts; returns when the answers of those under way are in the log."""
        self._draining = True
        flights = list(self._flights.values())
        for flight in flights:
            self._abandon(flight)
        await asyncio.gather(*(flight.task for flight in flights), return_exceptions=True)

    async def close(self) -> None:
        """Drains, and gives the teacher's connections and processes back."""
        await self.drain()
        try:
            await self._teacher.close()
        finally:
            await asyncio.to_thread(self._threads.shutdown)

    def _depart(self, flight: _Flight) -> _Flight:
        flight.task = asyncio.ensure_future(self._fly(flight))
        self._flights[flight.key] = flight

        def landed(task: asyncio.Task[LoggedAnswer]) -> None:
            if self._flights.get(flight.key) is flight:
                del self._flights[flight.key]
            if not task.cancelled():
                task.exception()  # whoever asked may be gone; then nobody else looks at it

        flight.task.add_done_callback(landed)
        return flight

    @staticmethod
    def _abandon(flight: _Flight) -> None:
        flight.leaving = True
        if not flight.calling:
            flight.task.cancel()

    async def _fly(self, flight: _Flight) -> LoggedAnswer:
        try:
            kept = await self._recall(flight.query, flight.key)
            return kept if kept is not None else await self._ask_patiently(flight)
        except StillhouseError as error:
            if not isinstance(error, Cancelled):
                self._tally.failed(error)
            raise

    async def _recall(self, query: AnswerQuery, key: str) -> LoggedAnswer | None:
        log = self._log
        kept = None if log is None else await self._in_thread(lambda: log.get(query))
        if kept is not None:
            is_new = self._is_first(key)
            if is_new:
                self._budget.spend(kept.cost_usd)
            self._tally.recalled(kept, is_new=is_new)
        return kept

    async def _ask_patiently(self, flight: _Flight) -> LoggedAnswer:
        trouble = Trouble(self._patience, self._health, self._random, self.identity)
        while True:
            with await self._budget.reserve(self._price.maximum(flight.question)) as reservation:
                turn = await self._pacer.start(self._tally.estimated_tokens(flight.question))
                flight.calling = True
                asked_at, started = datetime.now(UTC), self._clock.now()
                outcome = await self._call(turn, flight.question)
                if isinstance(outcome, Answer):
                    logged = self._logged(outcome, asked_at, self._clock.now() - started)
                    reservation.settle(logged.cost_usd)
                    return await self._keep(flight, logged, outcome)
                # Providers bill what they answered; a call that failed costs nothing.
                flight.calling = False
            pause = trouble.pause_after(outcome)
            self._tally.troubled(outcome, pause)
            if flight.leaving:
                raise Cancelled(_STOPPED)
            await self._clock.sleep(pause)

    async def _call(self, turn: Turn, question: Question) -> Answer | TemporaryError:
        """One call of the provider; what may pass is returned, what will not is raised."""
        self._tally.started()
        try:
            answer = await traced_ask(self._teacher, question, deadline_seconds=self._deadline_seconds)
            turn.succeeded(answer.prompt_tokens + answer.completion_tokens + answer.thinking_tokens)
            self._health.succeeded()
            return answer
        except ResourceExhausted as error:
            turn.throttled(error.retry_after_seconds)
            return error
        except TemporaryError as error:
            return error
        finally:
            turn.failed()  # where nothing else has ended it
            self._tally.ended()

    def _logged(self, answer: Answer, asked_at: datetime, latency_seconds: float) -> LoggedAnswer:
        output_tokens = answer.completion_tokens + answer.thinking_tokens
        return LoggedAnswer(
            text=answer.text,
            finish_reason=str(answer.finish_reason),
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            latency_seconds=latency_seconds,
            cost_usd=self._price.cost(answer.prompt_tokens, output_tokens),
            extra={
                "thinking_tokens": str(answer.thinking_tokens),
                "detail": answer.detail,
                "asked_at": asked_at.isoformat(timespec="seconds"),
            },
        )

    async def _keep(self, flight: _Flight, paid: LoggedAnswer, answer: Answer) -> LoggedAnswer:
        """The answer that the log has in the end: another process may have asked the same at the same time."""
        self._is_first(flight.key)
        log = self._log
        kept = paid if log is None else await self._in_thread(lambda: log.put(flight.query, paid))
        self._tally.answered(paid, answer.completion_tokens + answer.thinking_tokens)
        return kept

    def _is_first(self, key: str) -> bool:
        """True the first time that the cost of this key is counted."""
        return self._counted.add(int(key[:16], 16))

    async def _in_thread(self, work: Callable[[], ResultT]) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _canonical(tree: object) -> str:
    try:
        data: bytes = rfc8785.dumps(tree)
    except (rfc8785.CanonicalizationError, UnicodeError) as exc:
        raise InvalidArgument(f"a question can't be written as canonical JSON: {exc}") from exc
    return data.decode()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
