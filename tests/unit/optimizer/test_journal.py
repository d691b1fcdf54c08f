"""The journal between DSPy and a scripted model: what is asked, what is kept, what ends a run."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy import lm15

from scripted_subject import ScriptedSubject, at_random, scripted_lm
from stillhouse.artifacts.answers import AnswerLog
from stillhouse.artifacts.store import Store
from stillhouse.errors import Cancelled, PermanentError, Unavailable
from stillhouse.optimizer.journal import REPLAY, Journal, Limits, RunEnded, Usage, installed
from waiting import wait_until


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def log(store: Store) -> AnswerLog:
    return AnswerLog(store)


def plain(text: str, fields: Sequence[str]) -> str:
    return f"answer to {text[-20:]}"


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


def in_thread(threads: ThreadPoolExecutor, ask: Callable[[], Any]) -> Future[Any]:
    """As DSPy starts its rows: with the settings of whoever starts them."""
    return threads.submit(contextvars.copy_context().run, ask)


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


def refusing(text: str, fields: Sequence[str]) -> str:
    raise lm15.ContextLengthError("the prompt has 9000 tokens")


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


@pytest.mark.parametrize(
    ("limits", "answered"),
    [
        (Limits(max_calls=2), 2),
        (Limits(max_calls=0), 0),
        (Limits(max_total_tokens=30), 2),
        (Limits(max_cost_usd=0.5), 2),
        (Limits(max_seconds=2.5), 2),
    ],
    ids=lambda value: str(value),
)
def test_no_call_is_begun_beyond_a_limit_and_kept_answers_are_still_read(
    store: Store, limits: Limits, answered: int
) -> None:
    subject = ScriptedSubject(plain, cost_usd=0.25)
    journal = Journal(AnswerLog(store), limits=limits, elapsed_seconds=lambda: 1.0 + len(subject.asked))
    lm = scripted_lm(subject, journal)
    with installed(journal):
        for number in range(answered):
            lm(f"Question {number}?")
        with pytest.raises(RunEnded) as ended:
            lm("One more?")
        with journal.replay():
            for number in range(answered):
                lm(f"Question {number}?")
    assert getattr(limits, ended.value.limit) is not None
    assert len(subject.asked) == answered


def test_threads_together_stay_within_the_calls_and_the_cost_of_a_run(
    log: AnswerLog, threads: ThreadPoolExecutor
) -> None:
    subject = ScriptedSubject(plain, seconds=0.05, cost_usd=0.1)
    journal = Journal(log, limits=Limits(max_calls=5, max_cost_usd=0.3))
    lm = scripted_lm(subject, journal)
    with installed(journal):
        asking = [in_thread(threads, lambda number=number: lm(f"Question {number}?")) for number in range(12)]
        ended = [each.exception(20) for each in asking]
    assert len(subject.asked) == 3
    assert sum(each is None for each in ended) == 3


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


def test_a_question_that_dspy_drops_after_the_look_into_the_log_blocks_nobody(log: AnswerLog) -> None:
    request = {"model": "scripted/one", "messages": [{"role": "user", "content": "Why?"}]}
    journal = Journal(log)
    assert journal.get(request) is None
    assert journal.get(request) is None


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


def test_dspy_has_its_own_cache_back_afterwards(log: AnswerLog) -> None:
    before = vars(dspy).get("cache")
    journal = Journal(log)
    with installed(journal):
        assert dspy.cache is journal
    assert vars(dspy).get("cache") is before


def test_what_is_kept_is_text_that_can_be_read_without_pickle(store: Store) -> None:
    journal = Journal(AnswerLog(store))
    with installed(journal):
        scripted_lm(ScriptedSubject(lambda *_: "because"), journal)("Why?")
    (name,) = store.list_objects("answers/")
    data = store.read_object(name)
    assert data is not None
    assert b'"text":"because"' in data
