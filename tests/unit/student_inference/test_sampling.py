"""Sampling parameters: ranges, and what llama.cpp is told."""

from __future__ import annotations

import pytest

from stillhouse.errors import InvalidArgument
from stillhouse.student_inference.sampling import LARGEST_SEED, Sampling


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("top_k", -2),
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("seed", -1),
        ("seed", LARGEST_SEED + 1),
        ("frequency_penalty", 2.1),
        ("presence_penalty", -2.1),
        ("repetition_penalty", 0.0),
        ("stop", ("",)),
        ("stop", ("x" * 257,)),
        ("stop", tuple("abcdefghijklmnopq")),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Sampling(**{field: value})
    assert caught.value.field == f"sampling.{field}"


def test_the_defaults_are_greedy_and_unpenalised() -> None:
    told = Sampling().as_llama(4096)
    assert told["temperature"] == 0
    assert (told["top_p"], told["top_k"], told["min_p"], told["repeat_penalty"]) == (1.0, 0, 0.0, 1.0)
    assert "seed" not in told


def test_fields_get_their_llama_names() -> None:
    told = Sampling(temperature=0.7, top_k=-1, max_tokens=5, seed=7, stop=("\n",), repetition_penalty=1.1).as_llama(512)
    assert told["n_predict"] == 5
    assert told["repeat_penalty"] == 1.1
    assert told["repeat_last_n"] == 512
    assert (told["top_k"], told["seed"], told["stop"]) == (0, 7, ["\n"])
