"""A TrainRequest's options as one checked value; every range is stated here and nowhere else.

`training` calls it before anything is loaded. It knows the message, and no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from stillhouse.errors import InvalidArgument
from stillhouse.v1.trainer_pb2 import TrainRequest

SCHEDULES = ("cosine", "linear", "constant")
PRECISIONS = ("auto", "float32", "bfloat16", "float16", "nf4")
ALL_LINEAR = "all-linear"
_DEFAULT_CHECKPOINT_SECONDS = 300


@dataclass(frozen=True)
class TrainOptions:
    """Options of one training; the fields are those of the messages Lora and Training, ranges checked."""

    rank: int
    alpha: int
    dropout: float
    target_modules: tuple[str, ...]
    use_rslora: bool
    epochs: int
    batch_size: int
    micro_batch_size: int
    learning_rate: float
    schedule: str
    warmup_fraction: float
    weight_decay: float
    max_gradient_norm: float
    max_length: int
    seed: int
    precision: str
    gradient_checkpointing: bool
    max_steps: int
    evaluations_per_epoch: int
    checkpoint_seconds: int


def options_of(request: TrainRequest) -> TrainOptions:
    """The request's options. Raises InvalidArgument that names the first field out of range, and its range."""
    lora, training = request.lora, request.training
    options = TrainOptions(
        rank=lora.rank,
        alpha=lora.alpha,
        dropout=lora.dropout,
        target_modules=tuple(lora.target_modules),
        use_rslora=lora.use_rslora,
        epochs=training.epochs,
        batch_size=training.batch_size,
        micro_batch_size=training.micro_batch_size,
        learning_rate=training.learning_rate,
        schedule=training.schedule,
        warmup_fraction=training.warmup_fraction,
        weight_decay=training.weight_decay,
        max_gradient_norm=training.max_gradient_norm,
        max_length=training.max_length,
        seed=training.seed,
        precision=training.precision or "auto",
        gradient_checkpointing=training.gradient_checkpointing,
        max_steps=training.max_steps,
        evaluations_per_epoch=training.evaluations_per_epoch,
        checkpoint_seconds=request.checkpoint_seconds or _DEFAULT_CHECKPOINT_SECONDS,
    )
    _check_numbers(options)
    _check_words(options)
    return options


_RANGES = (
    ("rank", "lora.rank", 1, 1024),
    ("alpha", "lora.alpha", 1, 4096),
    ("dropout", "lora.dropout", 0, 0.99),
    ("epochs", "training.epochs", 1, 1000),
    ("batch_size", "training.batch_size", 1, 4096),
    ("micro_batch_size", "training.micro_batch_size", 0, 4096),
    ("learning_rate", "training.learning_rate", 1e-9, 1),
    ("warmup_fraction", "training.warmup_fraction", 0, 1),
    ("weight_decay", "training.weight_decay", 0, 1),
    ("max_gradient_norm", "training.max_gradient_norm", 0, 1e6),
    ("max_length", "training.max_length", 8, 131_072),
    ("seed", "training.seed", 0, 2**31 - 1),
    ("max_steps", "training.max_steps", 0, 2**31 - 1),
    ("evaluations_per_epoch", "training.evaluations_per_epoch", 0, 1000),
    ("checkpoint_seconds", "checkpoint_seconds", 1, 86_400),
)


def _check_numbers(options: TrainOptions) -> None:
    for name, field, low, high in _RANGES:
        value = getattr(options, name)
        if not math.isfinite(value) or not low <= value <= high:
            raise InvalidArgument(f"{field} is {value:g}; it must be within {low:g} and {high:g}", field=field)


def _check_words(options: TrainOptions) -> None:
    if options.schedule not in SCHEDULES:
        raise InvalidArgument(
            f"training.schedule is {options.schedule!r}; known: {', '.join(SCHEDULES)}", field="training.schedule"
        )
    if options.precision not in PRECISIONS:
        raise InvalidArgument(
            f"training.precision is {options.precision!r}; known: {', '.join(PRECISIONS)}", field="training.precision"
        )
    modules = options.target_modules
    if not modules or any(not module for module in modules) or (ALL_LINEAR in modules and len(modules) > 1):
        raise InvalidArgument(
            f"lora.target_modules is {list(modules)}; give module names such as q_proj, or the one entry {ALL_LINEAR}",
            field="lora.target_modules",
        )
