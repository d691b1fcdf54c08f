"""The limits of a run: no call is begun beyond one, whoever calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dspy
import pytest

from scripted_subject import ScriptedSubject, in_thread, plain, scripted_lm
from stillhouse.artifacts.answers import AnswerLog, LoggedAnswer
from stillhouse.artifacts.store import Store
from stillhouse.optimizer.journal import BilledRefusal, Journal, RunEnded, installed
from stillhouse.optimizer.usage import Limits, Usage


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


def test_a_call_waits_for_what_those_under_way_may_leave_of_the_cost_allowed(
    log: AnswerLog, threads: ThreadPoolExecutor
) -> None:
    """A call costs 0.1 and may cost 0.4: two at a time fit into 1.0, and seven after another."""
    subject = ScriptedSubject(plain, seconds=0.02, cost_usd=0.1, maximum_usd=0.4)
    journal = Journal(log, limits=Limits(max_cost_usd=1.0))
    lm = scripted_lm(subject, journal)
    with installed(journal):
        asking = [in_thread(threads, lambda number=number: lm(f"Question {number}?")) for number in range(12)]
        ended = [each.exception(20) for each in asking]
    assert subject.most_in_flight == 2
    assert len(subject.asked) == sum(each is None for each in ended) == 7
    assert {each.limit for each in ended if isinstance(each, RunEnded)} == {"max_cost_usd"}


def test_a_refusal_that_was_billed_counts_once_and_is_not_kept(store: Store) -> None:
    billed = LoggedAnswer("", "blocked", prompt_tokens=10, completion_tokens=3, latency_seconds=0.1, cost_usd=0.25)

    def script(text: str, fields: Sequence[str]) -> str:
        raise BilledRefusal("blocked", billed)

    subject = ScriptedSubject(script)
    journal = Journal(AnswerLog(store), limits=Limits(max_calls=1))
    lm = scripted_lm(subject, journal)
    with installed(journal):
        for _ in range(2):
            with pytest.raises(dspy.LMError, match="blocked"):
                lm("Why?")
        with pytest.raises(RunEnded) as ended:
            lm("Another question?")
    assert journal.usage == Usage(1, 10, 0, 3, 0.25, 0)
    assert ended.value.limit == "max_calls"
    assert not list(store.list_objects("answers/"))
