"""The answer log: an answer is paid for once."""

from __future__ import annotations

import dataclasses
import math
import threading

import pytest

from stillhouse.artifacts.answers import AnswerLog, AnswerQuery, LoggedAnswer, answer_path
from stillhouse.artifacts.store import Store
from stillhouse.errors import DataLoss, InvalidArgument

QUERY = AnswerQuery(model="student:sha256:1", prompt="[]", parameters={"temperature": 0.5, "top_p": None}, seed=2**63)
ANSWER = LoggedAnswer(
    text="Grüße\nJSON",
    finish_reason="stop",
    prompt_tokens=3,
    completion_tokens=4,
    latency_seconds=0.25,
    extra={"a": "b"},
)


@pytest.fixture
def log(tmp_path) -> AnswerLog:
    return AnswerLog(Store.open(str(tmp_path / "store")))


def test_an_answer_is_found_again(log: AnswerLog) -> None:
    assert log.get(QUERY) is None
    assert log.put(QUERY, ANSWER) == ANSWER
    assert log.get(QUERY) == ANSWER


def test_the_first_answer_is_kept(log: AnswerLog) -> None:
    log.put(QUERY, ANSWER)
    assert log.put(QUERY, dataclasses.replace(ANSWER, text="later")) == ANSWER


def test_of_many_racing_writers_all_keep_one_answer(log: AnswerLog) -> None:
    kept: list[LoggedAnswer] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        kept.append(log.put(QUERY, dataclasses.replace(ANSWER, text=f"answer {number}")))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == 8
    assert set(map(str, kept)) == {str(log.get(QUERY))}


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"prompt": "[1]"},
        {"parameters": {"temperature": 0.6, "top_p": None}},
        {"parameters": {"temperature": 0.5}},
        {"seed": 1},
        {"attempt": 1},
    ],
)
def test_another_question_has_another_digest(change: dict) -> None:
    assert dataclasses.replace(QUERY, **change).digest() != QUERY.digest()


def test_the_digest_of_a_query_is_pinned() -> None:
    assert QUERY.digest() == "3cad0746ba0c6ebbbbb208bef428e49d06bf49f4d6f1d301dd6b824c2b547a9a"


def test_parameters_have_one_digest_in_any_order_and_spelling() -> None:
    first = dataclasses.replace(QUERY, parameters={"a": 1, "b": 2e-4})
    second = dataclasses.replace(QUERY, parameters={"b": 0.0002, "a": 1.0})
    assert first.digest() == second.digest()


def test_a_parameter_that_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="can't be logged"):
        dataclasses.replace(QUERY, parameters={"temperature": math.nan}).digest()


def test_a_broken_entry_is_named(tmp_path) -> None:
    store = Store.open(str(tmp_path))
    store.put_object(answer_path(QUERY.digest()), b"{")
    with pytest.raises(DataLoss, match=QUERY.digest()):
        AnswerLog(store).get(QUERY)
