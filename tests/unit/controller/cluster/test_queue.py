"""The work queue: nothing lost, nothing twice at a time, and no event shortens the wait after a failure."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from stillhouse.controller.cluster.queue import WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue[str]:
    return WorkQueue(clock)


def due(queue: WorkQueue[str]) -> list[str]:
    """All that can be had now; they stay out."""
    found = []
    queue.add("end of the test")
    while (name := queue.get()) != "end of the test":
        assert name is not None
        found.append(name)
    queue.done(name)
    return found


def test_a_name_that_is_added_many_times_is_given_once(queue: WorkQueue[str]) -> None:
    for _ in range(3):
        queue.add("x")
    assert len(queue) == 1
    assert due(queue) == ["x"]


def test_a_name_that_is_added_while_it_is_out_is_given_again_but_only_after_it_came_back(
    queue: WorkQueue[str],
) -> None:
    queue.add("x")
    assert queue.get() == "x"
    queue.add("x")
    assert due(queue) == []
    queue.done("x")
    assert due(queue) == ["x"]


def test_the_name_that_has_waited_longest_comes_first(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("late", 5)
    queue.add("early", 2)
    queue.add("now")
    clock.now += 10
    assert due(queue) == ["now", "early", "late"]


def test_the_earlier_of_two_wishes_stands(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("sooner", 60)
    queue.add("sooner", 1)
    queue.add("still soon", 1)
    queue.add("still soon", 60)
    clock.now += 1
    assert due(queue) == ["sooner", "still soon"]


def test_failures_wait_longer_each_time_up_to_a_minute_and_a_success_forgets_them(
    queue: WorkQueue[str], clock: Clock
) -> None:
    waits = []
    for _ in range(8):
        queue.add("x")
        clock.now += 60
        assert due(queue) == ["x"]
        waits.append(queue.failed("x"))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    clock.now += 60
    assert due(queue) == ["x"]
    queue.done("x")
    queue.add("x")
    assert due(queue) == ["x"]
    assert queue.failed("x") == 1


def test_events_do_not_shorten_the_wait_after_a_failure(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("x")
    assert due(queue) == ["x"]
    queue.add("x")  # while it was out
    assert queue.failed("x", retry_after_seconds=30) == 30
    queue.add("x")
    for _ in range(29):
        clock.now += 1
        queue.add("x")
        assert due(queue) == []
    clock.now += 1
    assert due(queue) == ["x"]


def test_a_server_that_wants_less_time_than_the_backoff_gets_the_backoff(queue: WorkQueue[str]) -> None:
    queue.add("x")
    assert due(queue) == ["x"]
    assert queue.failed("x", retry_after_seconds=0.1) == 1


def test_the_next_look_is_due_when_it_was_asked_for_or_with_an_event(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("x")
    assert due(queue) == ["x"]
    queue.done("x", again_seconds=600)
    assert due(queue) == []
    queue.add("x")
    assert due(queue) == ["x"]
    queue.done("x", again_seconds=5)
    clock.now += 5
    assert due(queue) == ["x"]


def test_a_name_that_is_done_for_good_leaves_nothing_behind(queue: WorkQueue[str]) -> None:
    queue.add("x")
    assert due(queue) == ["x"]
    queue.done("x", again_seconds=None)
    assert len(queue) == 0


def test_closing_ends_every_wait() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("far away", 3600)
    threads = [threading.Thread(target=queue.get) for _ in range(3)]
    for thread in threads:
        thread.start()
    queue.close()
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)
    assert queue.get() is None


def test_a_waiting_worker_wakes_for_a_name_that_is_due_sooner() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("far away", 3600)
    got: list[str | None] = []
    worker = threading.Thread(target=lambda: got.append(queue.get()))
    worker.start()
    queue.add("soon", 0.05)
    worker.join(5)
    assert got == ["soon"]


def test_no_name_is_out_twice_and_no_event_is_lost_between_workers() -> None:
    queue: WorkQueue[int] = WorkQueue()
    out: Counter[int] = Counter()
    seen: Counter[int] = Counter()
    wished: Counter[int] = Counter()
    twice: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        while (name := queue.get()) is not None:
            with lock:
                out[name] += 1
                if out[name] > 1:
                    twice.append(name)
                seen[name] = wished[name]  # what was wished for before this look, it sees
            time.sleep(0.0005)
            with lock:
                out[name] -= 1
            queue.done(name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(400):
        with lock:
            wished[number % 7] += 1
        queue.add(number % 7)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with lock:
            if seen == wished and not any(out.values()):
                break
        time.sleep(0.01)
    queue.close()
    for thread in threads:
        thread.join()
    assert seen == wished
    assert twice == []
