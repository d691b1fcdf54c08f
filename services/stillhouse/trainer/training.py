"""The operation behind Train: a base and a data set in, the best checkpoint's LoRA adapter out.

`__main__` runs it as a Job. It wires options, data, model and loop together and does no arithmetic of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from stillhouse.chat_tokenizer import ChatTokenizer
from stillhouse.dataset.records import read_records
from stillhouse.errors import FailedPrecondition, ResourceExhausted
from stillhouse.roles.requested import check_version
from stillhouse.roles.role import Role, load_role
from stillhouse.rpc.operation import JobContext
from stillhouse.stages import TRAIN
from stillhouse.trainer.batches import Plan
from stillhouse.trainer.checkpoints import Checkpoints, TrainState, put_curve
from stillhouse.trainer.config import TrainerConfig
from stillhouse.trainer.examples import TokenExample, tokenize_records
from stillhouse.trainer.loop import Loop
from stillhouse.trainer.model import load_student, set_weights, trainable, write_adapter
from stillhouse.trainer.options import TrainOptions, options_of
from stillhouse.trainer.precision import Compute, choose_compute
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.common_pb2 import Progress
from stillhouse.v1.trainer_pb2 import TrainRequest, TrainResult


def train(context: JobContext, request: TrainRequest, config: TrainerConfig) -> TrainResult:
    """Fine-tunes, from the last checkpoint if the store has one.

    Raises InvalidArgument (options, overlong record), FailedPrecondition (bad data or base), DataLoss (damaged
    checkpoint or artifact), ResourceExhausted (memory, disk), Cancelled (stopped after a checkpoint).
    """
    options = options_of(request)
    role = load_role(request.role.name)
    check_version(role, request.role)
    torch.set_num_threads(config.threads)
    checkpoint = context.read_checkpoint()
    compute = _compute(options, checkpoint)
    _say(context, "reading base and data set")
    directory = context.store.fetch_set(request.base, context.workspace / "base")
    tokenizer = ChatTokenizer(directory)
    rows = _tokenized(context, request.train, role, tokenizer, options)
    tuning = _tokenized(context, request.tuning, role, tokenizer, options) if request.HasField("tuning") else []
    if not rows:
        raise FailedPrecondition("the training data set has no records; loosen the data set's filters", field="train")
    context.raise_if_stopping()
    with _memory_errors():
        _say(context, "loading the base")
        student = load_student(directory, options, compute)
        loop = _loop(context, student, compute, options, rows, tuning, tokenizer.pad_token_id)
        state = loop.checkpoints.load(checkpoint) if checkpoint is not None else TrainState()
        state = loop.run(state)
    return _result(context, student, state, compute)


def _loop(
    context: JobContext,
    student: Any,
    compute: Compute,
    options: TrainOptions,
    rows: list[TokenExample],
    tuning: list[TokenExample],
    pad: int,
) -> Loop:
    optimizer = torch.optim.AdamW(
        trainable(student).values(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=True
    )
    scaler = torch.amp.GradScaler(compute.device, enabled=compute.scales_loss)
    return Loop(
        context=context,
        student=student,
        optimizer=optimizer,
        scaler=scaler,
        checkpoints=Checkpoints(context, student, optimizer, scaler, compute.precision),
        compute=compute,
        options=options,
        plan=Plan(len(rows), options.batch_size, options.epochs, options.max_steps, options.seed),
        rows=rows,
        tuning_rows=tuning,
        pad=pad,
    )


def _result(context: JobContext, student: Any, state: TrainState, compute: Compute) -> TrainResult:
    if state.best_weights is not None:
        set_weights(student, state.best_weights)
    directory = context.workspace / "adapter"
    write_adapter(student, directory)
    return TrainResult(
        adapter=context.store.put_directory(directory, producer_key=context.key),
        final_train_loss=state.curve[-1]["loss"],
        best_tuning_loss=state.best_tuning_loss or 0.0,
        best_step=state.best_step or state.step,
        steps=state.step,
        trained_tokens=state.trained_tokens,
        loss_curve=put_curve(context, state),
        device=_device_name(compute),
        precision=compute.precision,
    )


def _compute(options: TrainOptions, checkpoint: Mapping[str, Any] | None) -> Compute:
    """A training goes on in the format it began with, even where another would now be faster."""
    precision = options.precision
    if precision == "auto" and checkpoint is not None and isinstance(checkpoint.get("precision"), str):
        precision = checkpoint["precision"]
    return choose_compute(precision)


def _tokenized(
    context: JobContext, artifact: Artifact, role: Role, tokenizer: ChatTokenizer, options: TrainOptions
) -> list[TokenExample]:
    records = read_records(context.store.open_lines(artifact), source=artifact.name)
    return tokenize_records(
        records, role=role, tokenizer=tokenizer, max_length=options.max_length, source=artifact.name
    )


def _say(context: JobContext, message: str) -> None:
    context.report(Progress(stage=TRAIN.name, message=message, unit="steps"))


def _device_name(compute: Compute) -> str:
    return torch.cuda.get_device_name() if compute.device == "cuda" else "cpu"


@contextmanager
def _memory_errors() -> Iterator[None]:
    remedy = "lower training.microBatchSize, switch gradientCheckpointing on, or take a smaller base"
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as exc:
        raise ResourceExhausted(f"out of memory while training; {remedy}") from exc
    except RuntimeError as exc:
        if re.search(r"not enough memory|can't allocate memory|out of memory", str(exc)) is None:
            raise
        raise ResourceExhausted(f"out of memory while training; {remedy}") from exc
