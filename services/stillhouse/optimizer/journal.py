"""Every answer of an optimisation, kept in the answer log before DSPy sees it: what replays a run that was cut off.

It stands in for `dspy.cache`, the only place that sees a request with its rollout, and ends a run by an exception that
DSPy does not swallow. It knows no role, no optimizer and no provider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, Event, local
from time import monotonic
from typing import Any, NoReturn

import dspy
from dspy import lm15
from dspy.clients.cache import Cache

from stillhouse.artifacts.answers import AnswerLog, AnswerQuery, LoggedAnswer
from stillhouse.errors import Cancelled, FailedPrecondition, InvalidArgument, PermanentError, StillhouseError
from stillhouse.optimizer.logged_calls import query_of, record_of
from stillhouse.optimizer.usage import Limits, Usage

REPLAY = "replay"
"""The limit of a replay: no call."""
_MARK = "journal_replay"
_LOOK_SECONDS = 0.5
_ROUNDING_USD = 1e-9


class RunEnded(BaseException):
    """Ends an optimisation from within a call; DSPy, which turns every Exception into a row without a score, can't.

    `error` is why it failed; None where a limit was reached, which `limit` names.
    """

    def __init__(self, error: StillhouseError | None, limit: str = "") -> None:
        super().__init__(str(error or limit))
        self.error = error
        self.limit = limit


class BilledRefusal(lm15.InvalidRequestError):  # type: ignore[misc]
    """A refusal that had its price. It is counted, and not kept."""

    def __init__(self, message: str, answer: LoggedAnswer) -> None:
        super().__init__(message)
        self.answer = answer


Keep = Callable[[LoggedAnswer], LoggedAnswer]
"""Keeps an answer, and returns the one that is kept."""


@dataclass
class _State:
    """What the calls of all threads share, under one lock."""

    usage: Usage = field(default_factory=Usage)
    counted: set[bytes] = field(default_factory=set)
    flying: set[str] = field(default_factory=set)
    calling: int = 0
    reserved_usd: float = 0.0
    refusals: dict[str, lm15.LM15Error] = field(default_factory=dict)
    ended: RunEnded | None = None
    replay: object = None
    """Marks the replay that is under way; None: none is."""


class Journal:
    """The answers of one run. Safe to share between threads: equal requests in flight are one call."""

    def __init__(
        self,
        log: AnswerLog,
        *,
        limits: Limits | None = None,
        stopping: Event | None = None,
        elapsed_seconds: Callable[[], float] = monotonic,
    ) -> None:
        """`elapsed_seconds` is of the run, over all attempts; `stopping` ends it between two calls."""
        self._log = log
        self._limits = limits or Limits()
        self._stopping = stopping or Event()
        self._elapsed_seconds = elapsed_seconds
        self._state = _State()
        self._changed = Condition()
        self._thread = local()

    @property
    def usage(self) -> Usage:
        """What was used so far."""
        return self._state.usage

    @contextmanager
    def replay(self) -> Iterator[None]:
        """Within, nothing is called: a question without an answer ends the run as it ended the first time.

        Begins once the calls under way have their answers, and refuses the threads that DSPy left behind when the run
        ended: their questions would end the replay before its time. Raises Cancelled.
        """
        mark = object()
        with self._changed:
            while self._state.calling:
                self.raise_if_stopping()
                self._changed.wait(_LOOK_SECONDS)
            self._state.replay, ended = mark, self._state.ended
            self._state.ended = None
        try:
            with dspy.context(**{_MARK: mark}):
                yield
        finally:
            with self._changed:
                self._state.replay = None
                self._state.ended = self._state.ended or ended

    def raise_if_stopping(self) -> None:
        """Raises Cancelled where the run was asked to stop."""
        if self._stopping.is_set():
            raise Cancelled("stopped; the answers so far are kept, the same command goes on")

    def end(self, ended: RunEnded) -> RunEnded:
        """Ends the run for every thread; returns what ended it first."""
        with self._changed:
            self._state.ended = self._state.ended or ended
            self._changed.notify_all()
            return self._state.ended

    # ---- dspy.cache: get before a call, put after it ----

    def get(self, request: Mapping[str, Any], ignored: list[str] | None = None) -> dict[str, Any] | None:  # noqa: ARG002
        """The kept answer, as DSPy keeps one; None makes this thread the one that asks. Raises RunEnded."""
        try:
            query = query_of(request)
            digest = query.digest()
        except InvalidArgument as exc:
            raise self.end(RunEnded(exc)) from exc
        # A question that DSPy itself refused after it was found missing: nobody asks it any more.
        if (dropped := vars(self._thread).pop("asking", None)) is not None:
            self._land(dropped[1])
        with self._changed:
            self._raise_if_ended()
            while digest in self._state.flying:
                self._changed.wait(_LOOK_SECONDS)
                self._raise_if_ended()
            self._state.flying.add(digest)
        try:
            kept = self._look_up(query, digest)
        except BaseException:
            self._land(digest)
            raise
        if kept is not None:
            self._land(digest, kept, from_log=True)
            return record_of(query.model, kept)
        self._thread.asking = query, digest
        return None

    def _look_up(self, query: AnswerQuery, digest: str) -> LoggedAnswer | None:
        try:
            kept = self._log.get(query)
        except StillhouseError as exc:
            raise self.end(RunEnded(exc)) from exc
        # The run may have ended, and its replay begun, while the log was read: that is not for this thread to end.
        self._raise_if_ended()
        if kept is None and self._state.replay is not None and digest not in self._state.refusals:
            raise self.end(RunEnded(None, REPLAY))
        return kept

    def put(self, request: Mapping[str, Any], value: Any, *_: Any) -> None:
        """Nothing: the answer was kept by the call itself."""

    # ---- the call between the two ----

    @contextmanager
    def call(self, maximum_usd: Callable[[], float] = lambda: 0.0) -> Iterator[Keep]:
        """Around the call that `get` found missing, which costs `maximum_usd` at most: yields what keeps its answer.

        Raises RunEnded before the call where a limit is reached. A lm15 error that leaves it is a refusal of this
        question, for good, and counts if it is a Billed one; any other error ends the run.
        """
        query, digest = vars(self._thread).pop("asking", None) or _not_installed()
        reserved_usd, used = 0.0, None

        def keep(answer: LoggedAnswer) -> LoggedAnswer:
            nonlocal used
            used = self._log.put(query, answer)
            return used

        with self._changed:
            self._state.calling += 1
        try:
            self._raise_if_ended()
            if (refusal := self._state.refusals.get(digest)) is not None:
                raise refusal
            reserved_usd = self._reserve(maximum_usd())
            yield keep
        except lm15.LM15Error as exc:
            self._state.refusals[digest] = exc.with_traceback(None)
            used = exc.answer if isinstance(exc, BilledRefusal) else None
            raise
        except StillhouseError as exc:
            raise self.end(RunEnded(exc)) from exc
        except Exception as exc:  # whatever else: a row that fails unseen would make the replay another run
            unexpected = PermanentError(f"a call of {query.model} failed ({type(exc).__name__}: {exc})")
            raise self.end(RunEnded(unexpected)) from exc
        finally:
            with self._changed:
                self._state.calling -= 1
                self._state.reserved_usd -= reserved_usd
                self._land(digest, used)

    def _land(self, digest: str, answer: LoggedAnswer | None = None, *, from_log: bool = False) -> None:
        with self._changed:
            self._state.flying.discard(digest)
            key = bytes.fromhex(digest)[:16]
            if answer is not None and key not in self._state.counted:
                self._state.counted.add(key)
                self._state.usage = self._state.usage.plus(answer, from_log=from_log)
            self._changed.notify_all()

    def _raise_if_ended(self) -> None:
        if self._state.ended is not None:
            raise self._state.ended
        if dspy.settings.get(_MARK) is not self._state.replay:
            raise RunEnded(None, REPLAY)
        if self._state.replay is None:
            try:
                self.raise_if_stopping()
            except Cancelled as exc:
                raise self.end(RunEnded(exc)) from exc

    def _reserve(self, maximum_usd: float) -> float:
        """Sets aside what a call costs at most, and waits where calls under way may leave enough of the cost allowed.

        Raises RunEnded where a limit does not allow the call. Several threads may be at their last call at once.
        """
        with self._changed:
            while True:
                self._raise_beyond(maximum_usd)
                affordable = self._limits.max_cost_usd
                wanted = self._state.usage.cost_usd + self._state.reserved_usd + maximum_usd
                if affordable is None or maximum_usd <= 0 or wanted <= affordable + _ROUNDING_USD:
                    self._state.reserved_usd += maximum_usd
                    return maximum_usd
                self._changed.wait(_LOOK_SECONDS)
                self._raise_if_ended()

    def _raise_beyond(self, maximum_usd: float) -> None:
        used, limits = self._state.usage, self._limits
        reached = {
            "max_calls": (used.calls + self._state.calling, limits.max_calls),
            "max_total_tokens": (used.prompt_tokens + used.completion_tokens + 1, limits.max_total_tokens),
            "max_cost_usd": (used.cost_usd + maximum_usd - _ROUNDING_USD, limits.max_cost_usd),
            "max_seconds": (self._elapsed_seconds(), limits.max_seconds),
        }
        for name, (value, limit) in reached.items():
            if limit is not None and value > limit:
                raise self.end(RunEnded(None, name))


def _not_installed() -> NoReturn:
    raise RunEnded(
        FailedPrecondition("a model of an optimisation was asked past its journal, which keeps every answer")
    )


@contextmanager
def installed(journal: Journal) -> Iterator[None]:
    """DSPy's language models ask through `journal` meanwhile; its own cache, which pickles, is out of use.

    It stays so where there was none: threads that a run left behind still have an answer for it.
    """
    with dspy._cache_lock:
        # Not getattr: the first look at dspy.cache builds the one on disk.
        before = vars(dspy).pop("cache", None)
        dspy.cache = journal
    try:
        yield
    finally:
        with dspy._cache_lock:
            dspy.cache = before or Cache(enable_disk_cache=False, enable_memory_cache=False, disk_cache_dir=None)
