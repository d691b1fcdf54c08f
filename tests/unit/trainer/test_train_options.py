from __future__ import annotations

from typing import Any

import pytest
from torch.cuda import is_available as cuda_is_available

from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.trainer.options import options_of
from stillhouse.trainer.precision import choose_compute
from stillhouse.v1.trainer_pb2 import Lora, Training, TrainRequest


def request(lora: dict[str, Any] | None = None, **training: Any) -> TrainRequest:
    rank = {"rank": 8, "alpha": 16, "target_modules": ["q_proj"], **(lora or {})}
    values = {"epochs": 1, "batch_size": 4, "learning_rate": 2e-4, "schedule": "cosine", "max_length": 512, **training}
    return TrainRequest(lora=Lora(**rank), training=Training(**values))


def test_a_request_within_range_is_taken_as_it_is() -> None:
    options = options_of(request(micro_batch_size=2, seed=3))

    assert (options.rank, options.batch_size, options.micro_batch_size, options.seed) == (8, 4, 2, 3)
    assert (options.precision, options.checkpoint_seconds) == ("auto", 300)


@pytest.mark.parametrize(
    ("lora", "training", "field"),
    [
        ({"rank": 0}, {}, "lora.rank"),
        ({"dropout": 1.5}, {}, "lora.dropout"),
        ({"target_modules": []}, {}, "lora.target_modules"),
        ({"target_modules": ["all-linear", "q_proj"]}, {}, "lora.target_modules"),
        ({}, {"epochs": 0}, "training.epochs"),
        ({}, {"learning_rate": float("nan")}, "training.learning_rate"),
        ({}, {"learning_rate": -1.0}, "training.learning_rate"),
        ({}, {"schedule": "cosinus"}, "training.schedule"),
        ({}, {"precision": "int3"}, "training.precision"),
        ({}, {"warmup_fraction": 2.0}, "training.warmup_fraction"),
    ],
)
def test_an_option_out_of_range_is_refused_by_its_name(
    lora: dict[str, Any], training: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument, match=field) as caught:
        options_of(request(lora, **training))

    assert caught.value.field == field


@pytest.mark.skipif(cuda_is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("precision", ["nf4", "float16"])
def test_formats_of_a_gpu_are_refused_without_one(precision: str) -> None:
    with pytest.raises(FailedPrecondition, match="needs a CUDA GPU"):
        choose_compute(precision)
