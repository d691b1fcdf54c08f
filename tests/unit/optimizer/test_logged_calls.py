"""A call of a DSPy language model as the answer log keeps it."""

from __future__ import annotations

import pytest

from scripted_subject import response
from stillhouse.errors import InvalidArgument
from stillhouse.optimizer.logged_calls import logged, query_of, response_of

REQUEST = {"_fn_identifier": "x", "model": "m", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 9}


def test_an_answer_that_was_cut_is_cut_when_it_is_read_again() -> None:
    kept = logged(response("so", finish_reason="length"), latency_seconds=1.0, cost_usd=0.5)
    assert (kept.finish_reason, kept.text, kept.extra) == ("length", "so", {"cached_tokens": "2"})
    assert response_of("m", kept).finish_reason == "length"


def test_everything_that_changes_an_answer_makes_another_question() -> None:
    changes = [
        {},
        {"model": "n"},
        {"messages": []},
        {"max_tokens": 8},
        {"temperature": 1.0},
        {"rollout_id": 1},
        {"seed": 2},
    ]
    assert len({query_of({**REQUEST, **change}).digest() for change in changes}) == len(changes)
    assert query_of({**REQUEST, "_fn_identifier": "y", "stop": None}) == query_of(REQUEST)


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="a request to m can't be kept as JSON"):
        query_of({**REQUEST, "messages": [object()]})
