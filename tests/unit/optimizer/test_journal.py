"""The journal between DSPy and a scripted model: what is asked, what is kept, what ends a run."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dspy
import pytest

from scripted_subject import ScriptedSubject, at_random, in_thread, plain, refusing, scripted_lm
from stillhouse.artifacts.answers import AnswerLog
from stillhouse.artifacts.store import Store
from stillhouse.errors import Cancelled, PermanentError, Unavailable
from stillhouse.optimizer.journal import Journal, RunEnded, installed
from stillhouse.optimizer.usage import Usage
from waiting import wait_until


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def log(store: Store) -> AnswerLog:
    return AnswerLog(store)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


def test_an_answer_is_asked_for_once_and_read_the_same_ever_after(log: AnswerLog) -> None:
    subject = ScriptedSubject(at_random)
    journal = Journal(log)
    lm = scripted_lm(subject, journal)
    with installed(journal):
        first = lm("Why?")
        assert lm("Why?") == first
    again = Journal(log)
    with installed(again):
        assert scripted_lm(subject, again)("Why?") == first
    assert len(subject.asked) == 1
    assert (journal.usage, again.usage) == (Usage(1, 10, 2, 5, 0.0, 0), Usage(1, 10, 2, 5, 0.0, 1))


def test_rollouts_of_one_question_are_questions_of_their_own(log: AnswerLog) -> None:
    subject = ScriptedSubject(at_random)
    journal = Journal(log)
    lm = scripted_lm(subject, journal)
    with installed(journal):
        answers = [lm("Why?", rollout_id=number)[0] for number in (1, 2, 1)]
    assert answers[0] == answers[2] != answers[1]
    assert len(subject.asked) == 2


def test_equal_questions_in_flight_are_one_call(log: AnswerLog, threads: ThreadPoolExecutor) -> None:
    released = threading.Event()

    def script(text: str, fields: Sequence[str]) -> str:
        assert released.wait(20)
        return at_random(text, fields)

    subject = ScriptedSubject(script)
    journal = Journal(log)
    lm = scripted_lm(subject, journal)
    with installed(journal):
        asking = [in_thread(threads, lambda: lm("Why?")[0]) for _ in range(4)]
        wait_until(lambda: len(subject.asked) == 1, "the question is asked")
        released.set()
        assert len({each.result(20) for each in asking}) == 1
    assert len(subject.asked) == 1
    assert journal.usage.calls == 1


def test_a_refused_question_fails_each_time_is_asked_once_a_run_and_never_kept(store: Store) -> None:
    subject = ScriptedSubject(refusing)
    for run in (1, 2):
        journal = Journal(AnswerLog(store))
        lm = scripted_lm(subject, journal)
        with installed(journal):
            for _ in range(2):
                with pytest.raises(dspy.ContextWindowExceededError, match="9000 tokens"):
                    lm("Why?")
        assert len(subject.asked) == run
        assert journal.usage.calls == 0
    assert not list(store.list_objects("answers/"))


def test_a_refusal_reaches_everyone_who_waits_for_that_question(log: AnswerLog, threads: ThreadPoolExecutor) -> None:
    released = threading.Event()

    def script(text: str, fields: Sequence[str]) -> str:
        assert released.wait(20)
        return refusing(text, fields)

    subject = ScriptedSubject(script)
    journal = Journal(log)
    lm = scripted_lm(subject, journal)
    with installed(journal):
        asking = [in_thread(threads, lambda: lm("Why?")) for _ in range(4)]
        wait_until(lambda: len(subject.asked) == 1, "the question is asked")
        released.set()
        assert {type(each.exception(20)) for each in asking} == {dspy.ContextWindowExceededError}
    assert len(subject.asked) == 1


@pytest.mark.parametrize(
    ("raised", "ends_with"),
    [(Unavailable("away"), Unavailable), (ZeroDivisionError("a bug"), PermanentError)],
)
def test_a_call_that_fails_otherwise_ends_the_run_and_is_not_kept(
    store: Store, raised: Exception, ends_with: type[Exception]
) -> None:
    def script(text: str, fields: Sequence[str]) -> str:
        raise raised

    journal = Journal(AnswerLog(store))
    lm = scripted_lm(ScriptedSubject(script), journal)
    with installed(journal):
        with pytest.raises(RunEnded, match=str(raised)) as ended:
            lm("Why?")
        with pytest.raises(RunEnded, match=str(raised)):
            lm("Another question?")
    assert isinstance(ended.value.error, ends_with)
    assert not list(store.list_objects("answers/"))


def test_the_answer_that_another_process_kept_first_is_the_one_that_is_read(log: AnswerLog) -> None:
    other = Journal(log)
    mine = Journal(log)

    def overtaken(text: str, fields: Sequence[str]) -> str:
        with installed(other):
            scripted_lm(ScriptedSubject(lambda *_: "theirs"), other)("Why?")
        return "mine"

    with installed(mine):
        assert scripted_lm(ScriptedSubject(overtaken), mine)("Why?") == ["theirs"]


def test_a_question_that_dspy_drops_after_the_look_into_the_log_is_anyones_once_that_thread_asks_another(
    log: AnswerLog, threads: ThreadPoolExecutor
) -> None:
    def request(question: str) -> dict[str, Any]:
        return {"model": "scripted/one", "messages": [{"role": "user", "content": question}]}

    journal = Journal(log)
    assert journal.get(request("Why?")) is None
    waiting = in_thread(threads, lambda: journal.get(request("Why?")))
    with pytest.raises(TimeoutError):
        waiting.result(0.1)
    assert journal.get(request("How?")) is None
    assert waiting.result(20) is None


def test_whoever_waits_for_a_dropped_question_hears_of_the_stop(log: AnswerLog, threads: ThreadPoolExecutor) -> None:
    stopping = threading.Event()
    request = {"model": "scripted/one", "messages": [{"role": "user", "content": "Why?"}]}
    journal = Journal(log, stopping=stopping)
    assert journal.get(request) is None
    waiting = in_thread(threads, lambda: journal.get(request))
    stopping.set()
    ended = waiting.exception(20)
    assert isinstance(ended, RunEnded)
    assert isinstance(ended.error, Cancelled)


def test_a_run_that_is_stopped_begins_no_call(log: AnswerLog) -> None:
    stopping = threading.Event()
    subject = ScriptedSubject(plain)
    journal = Journal(log, stopping=stopping)
    lm = scripted_lm(subject, journal)
    with installed(journal):
        lm("Why?")
        stopping.set()
        with pytest.raises(RunEnded) as ended:
            lm("Another question?")
    assert isinstance(ended.value.error, Cancelled)
    assert len(subject.asked) == 1


def test_dspy_has_its_own_cache_back_afterwards(log: AnswerLog, monkeypatch: pytest.MonkeyPatch) -> None:
    own = object()
    monkeypatch.setattr(dspy, "cache", own, raising=False)
    journal = Journal(log)
    with installed(journal):
        assert dspy.cache is journal
    assert dspy.cache is own


def test_rows_left_behind_find_no_cache_that_would_pickle_their_answers(
    log: AnswerLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(dspy), "cache", None)
    with installed(Journal(log)):
        pass
    dspy.cache.put({"model": "m"}, object())
    assert not dspy.cache.enable_disk_cache
    assert not dspy.cache.enable_memory_cache


def test_what_is_kept_is_text_that_can_be_read_without_pickle(store: Store) -> None:
    journal = Journal(AnswerLog(store))
    with installed(journal):
        scripted_lm(ScriptedSubject(lambda *_: "because"), journal)("Why?")
    (name,) = store.list_objects("answers/")
    data = store.read_object(name)
    assert data is not None
    assert b'"text":"because"' in data
