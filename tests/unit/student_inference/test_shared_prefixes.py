"""What many prompts begin with is read once, by one of those who ask."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.errors import Cancelled, DeadlineExceeded, Unavailable
from stillhouse.student_inference.admission import Stop
from stillhouse.student_inference.shared_prefixes import SharedPrefixes, common_beginning


def test_a_beginning_is_read_by_the_first_while_the_others_wait() -> None:
    prefixes, entered, released = SharedPrefixes(), threading.Event(), threading.Event()
    read: list[str] = []

    def slowly() -> bool:
        entered.set()
        assert released.wait(10)
        read.append("slowly")
        return True

    def ask(work: str) -> None:
        prefixes.read_once("shared", slowly if work == "slowly" else lambda: read.append(work) is None, Stop())
        read.append("went on")

    threads = [threading.Thread(target=ask, args=(work,)) for work in ("slowly", "again", "again")]
    threads[0].start()
    assert entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    assert read == []
    released.set()
    for thread in threads:
        thread.join(10)
    assert read == ["slowly", "went on", "went on", "went on"]


def test_each_beginning_is_read_once_in_whatever_turn_they_come() -> None:
    prefixes, read = SharedPrefixes(), []
    for shared in "ABABBA":
        prefixes.read_once(shared, lambda shared=shared: read.append(shared) is None, Stop())
    assert read == ["A", "B"]


def test_what_was_not_read_is_tried_again() -> None:
    prefixes, calls = SharedPrefixes(), []

    def fail() -> bool:
        calls.append("failed")
        raise Unavailable("llama.cpp failed")

    with pytest.raises(Unavailable):
        prefixes.read_once("shared", fail, Stop())
    prefixes.read_once("shared", lambda: calls.append("no slot is free") is not None, Stop())
    prefixes.read_once("shared", lambda: calls.append("read") is None, Stop())
    assert calls == ["failed", "no slot is free", "read"]


def test_a_caller_that_goes_away_waits_no_longer() -> None:
    prefixes, gone = SharedPrefixes(), Stop()
    gone.cancel()

    def while_reading() -> bool:
        for stop, error in ((gone, Cancelled), (Stop(deadline_seconds=0.01), DeadlineExceeded)):
            with pytest.raises(error, match="what many prompts begin with was read"):
                prefixes.read_once("shared", lambda: True, stop)
        return True

    prefixes.read_once("shared", while_reading, Stop())


@given(st.text(max_size=8), st.text(max_size=4), st.text(max_size=4))
def test_two_texts_begin_with_what_they_have_in_common(shared: str, text: str, other: str) -> None:
    found = common_beginning(shared + text, shared + other)
    assert found.startswith(shared)
    assert (shared + text).startswith(found)
    assert (shared + other).startswith(found)
    rest, others = (shared + text)[len(found) :], (shared + other)[len(found) :]
    assert not rest or not others or rest[0] != others[0]
