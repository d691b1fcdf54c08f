"""Admission: slots, a bounded queue in order, and callers that go away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from stillhouse.errors import Cancelled, DeadlineExceeded, ResourceExhausted
from stillhouse.student_inference.admission import Admission, Stop


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    admission = Admission(slots=1, queue=0)
    with admission.slot(Stop()), pytest.raises(ResourceExhausted) as caught, admission.slot(Stop()):
        pass
    assert caught.value.retry_after_seconds is not None
    assert caught.value.retry_after_seconds > 0
    with admission.slot(Stop()) as waited:
        assert waited < 1


def test_requests_are_served_in_the_order_they_came() -> None:
    admission = Admission(slots=1, queue=5)
    served: list[int] = []

    def ask(number: int) -> None:
        with admission.slot(Stop()):
            served.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
    with admission.slot(Stop()):
        for count, thread in enumerate(threads, 1):
            thread.start()
            wait_until(lambda count=count: admission.waiting == count)
    for thread in threads:
        thread.join(10)
    assert served == [0, 1, 2, 3, 4]


def test_a_cancelled_request_leaves_the_queue() -> None:
    admission = Admission(slots=1, queue=1)
    stop = Stop()
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            with admission.slot(stop):
                pass
        except Cancelled as exc:
            failures.append(exc)

    with admission.slot(Stop()):
        thread = threading.Thread(target=ask)
        thread.start()
        wait_until(lambda: admission.waiting == 1)
        stop.cancel()
        thread.join(10)
        assert len(failures) == 1
        assert admission.waiting == 0


def test_all_slots_are_held_only_where_nobody_holds_one() -> None:
    admission, held = Admission(slots=3, queue=3), []

    def with_all() -> None:
        held.append(admission.busy)
        for others in (None, with_all):
            with pytest.raises(DeadlineExceeded), admission.slot(Stop(deadline_seconds=0.05), others):
                pass

    with admission.slot(Stop(), with_all) as waited:
        assert (held, admission.busy, waited < 0.05) == ([3], 1, True)
        with admission.slot(Stop(), with_all):
            assert (held, admission.busy) == ([3], 2)
    assert admission.busy == 0


def test_all_slots_are_free_again_after_an_error() -> None:
    admission = Admission(slots=3, queue=0)

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), admission.slot(Stop(), fail):
        pass
    assert admission.busy == 0


def test_who_comes_while_one_holds_all_slots_waits_where_there_would_have_been_a_slot() -> None:
    admission, entered = Admission(slots=3, queue=0), []

    def ask() -> None:
        with admission.slot(Stop()):
            entered.append(admission.busy)
            both.wait(10)

    def with_all() -> None:
        for thread in threads:
            thread.start()
        wait_until(lambda: admission.waiting == 2)
        with pytest.raises(ResourceExhausted), admission.slot(Stop()):
            pass
        assert entered == []

    both, threads = threading.Barrier(2), [threading.Thread(target=ask) for _ in range(2)]
    with admission.slot(Stop(), with_all):
        for thread in threads:
            thread.join(10)
    assert (sorted(entered), admission.busy) == ([2, 3], 0)


def test_a_deadline_ends_the_wait() -> None:
    admission = Admission(slots=1, queue=1)
    with admission.slot(Stop()), pytest.raises(DeadlineExceeded), admission.slot(Stop(deadline_seconds=0.05)):
        pass


def test_a_slot_is_free_again_after_an_error() -> None:
    admission = Admission(slots=1, queue=0)
    with pytest.raises(ZeroDivisionError), admission.slot(Stop()):
        raise ZeroDivisionError
    with admission.slot(Stop()) as waited:
        assert waited < 1
