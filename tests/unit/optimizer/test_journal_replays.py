"""A replay of a journal: it calls nothing, and threads that the run left behind do not disturb it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dspy
import pytest

from scripted_subject import ScriptedSubject, at_random, in_thread, plain, refusing, scripted_lm
from stillhouse.artifacts.answers import AnswerLog, AnswerQuery, LoggedAnswer
from stillhouse.artifacts.store import Store
from stillhouse.optimizer.journal import REPLAY, Journal, RunEnded, installed
from stillhouse.optimizer.usage import Limits
from waiting import wait_until


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def log(store: Store) -> AnswerLog:
    return AnswerLog(store)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(12) as executor:
        yield executor


def test_a_replay_calls_nothing(log: AnswerLog) -> None:
    subject = ScriptedSubject(at_random)
    journal = Journal(log)
    lm = scripted_lm(subject, journal)
    with installed(journal):
        first = lm("Why?")
        with journal.replay():
            assert lm("Why?") == first
            with pytest.raises(RunEnded) as ended:
                lm("Another question?")
    assert ended.value.limit == REPLAY
    assert len(subject.asked) == 1


def test_a_replay_meets_the_same_refusal(log: AnswerLog) -> None:
    subject = ScriptedSubject(refusing)
    journal = Journal(log)
    lm = scripted_lm(subject, journal)
    with installed(journal):
        with pytest.raises(dspy.ContextWindowExceededError):
            lm("Why?")
        with journal.replay(), pytest.raises(dspy.ContextWindowExceededError):
            lm("Why?")
    assert len(subject.asked) == 1


def test_a_replay_waits_for_calls_under_way_and_is_not_ended_by_rows_left_behind(
    log: AnswerLog, threads: ThreadPoolExecutor
) -> None:
    released, replaying = threading.Event(), threading.Event()

    def script(text: str, fields: Sequence[str]) -> str:
        assert released.wait(20)
        return plain(text, fields)

    subject = ScriptedSubject(script)
    journal = Journal(log, limits=Limits(max_calls=1))
    lm = scripted_lm(subject, journal)

    def row_of_two_questions() -> None:
        lm("First?")
        assert replaying.wait(20)
        lm("Second?")

    with installed(journal):
        row = in_thread(threads, row_of_two_questions)
        wait_until(lambda: len(subject.asked) == 1, "the first question is asked")
        with pytest.raises(RunEnded) as ended:
            lm("Another row?")
        threading.Timer(0.2, released.set).start()
        with journal.replay():
            assert subject.in_flight == 0, "its answer was waited for"
            assert lm("First?")
            replaying.set()
            assert isinstance(row.exception(20), RunEnded)
            assert lm("First?"), "the replay goes on"
    assert ended.value.limit == "max_calls"
    assert journal.usage.calls == 1


class SlowLog(AnswerLog):
    """A log that is read while other things happen."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.reading, self.go_on = threading.Event(), threading.Event()

    def get(self, query: AnswerQuery) -> LoggedAnswer | None:
        if "Late" in query.prompt:
            self.reading.set()
            assert self.go_on.wait(20)
        return super().get(query)


def test_a_row_that_was_reading_the_log_when_the_run_ended_neither_asks_nor_ends_the_replay(
    store: Store, threads: ThreadPoolExecutor
) -> None:
    slow = SlowLog(store)
    subject = ScriptedSubject(plain)
    journal = Journal(slow, limits=Limits(max_calls=1))
    lm = scripted_lm(subject, journal)
    with installed(journal):
        lm("First?")
        late = in_thread(threads, lambda: lm("Late?"))
        assert slow.reading.wait(20)
        with pytest.raises(RunEnded):
            lm("Another row?")
        with journal.replay():
            slow.go_on.set()
            assert isinstance(late.exception(20), RunEnded)
            assert lm("First?"), "the replay goes on"
    assert len(subject.asked) == 1


def test_a_row_that_found_nothing_in_the_log_begins_no_call_in_the_replay(log: AnswerLog) -> None:
    request = {"model": "scripted/one", "messages": [{"role": "user", "content": "Late?"}]}
    journal = Journal(log, limits=Limits(max_calls=5))
    left_behind = threading.Event()
    ended: list[BaseException] = []

    def row() -> None:
        assert journal.get(request) is None
        looked_up.set()
        assert left_behind.wait(20)
        try:
            with journal.call():
                raise AssertionError("it asks")
        except RunEnded as exc:
            ended.append(exc)

    looked_up = threading.Event()
    thread = threading.Thread(target=row)
    thread.start()
    assert looked_up.wait(20)
    with journal.replay():
        left_behind.set()
        thread.join(20)
        assert len(ended) == 1
        scripted = scripted_lm(ScriptedSubject(plain), journal)
        with installed(journal), pytest.raises(RunEnded) as missing:
            scripted("Not in the log?")
    assert missing.value.limit == REPLAY
