"""The training loop: optimizer steps, evaluations, checkpoints and progress, resumable at every step.

`training` builds it. A step that is interrupted is dropped whole: weights change only at its end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from stillhouse.errors import Cancelled, FailedPrecondition
from stillhouse.rpc.operation import JobContext
from stillhouse.trainer.batches import MicroBatch, Plan, micro_batches
from stillhouse.trainer.checkpoints import Checkpoints, TrainState
from stillhouse.trainer.examples import TokenExample
from stillhouse.trainer.memory import return_free_memory
from stillhouse.trainer.model import copy_weights, trainable
from stillhouse.trainer.options import TrainOptions
from stillhouse.trainer.precision import Compute
from stillhouse.trainer.progress import Pace, evaluation_progress, training_progress
from stillhouse.trainer.schedule import learning_rate_at

_CPU_TOKENS = 2048
"""Tokens at a time on a CPU: more of them save no time there, and rows of unlike length cost padding."""


@dataclass
class Loop:
    """One training over tokenized rows. Call `run` once."""

    context: JobContext
    student: Any
    optimizer: torch.optim.Optimizer
    scaler: Any
    checkpoints: Checkpoints
    compute: Compute
    options: TrainOptions
    plan: Plan
    rows: Sequence[TokenExample]
    tuning_rows: Sequence[TokenExample]
    pad: int

    def run(self, state: TrainState) -> TrainState:
        """Trains from `state` to the end.

        Raises Cancelled after a checkpoint when the context is stopping, FailedPrecondition when the loss is no number.
        """
        due = self.plan.evaluation_steps(self.options.evaluations_per_epoch) if self.tuning_rows else frozenset()
        pace = Pace(self.plan, self.rows, self.tuning_rows, due)
        saved = time.monotonic()
        try:
            while True:
                if state.step in due and state.evaluated_step < state.step:
                    self._evaluate(state, pace)
                if state.step >= self.plan.steps:
                    return state
                self._step(state, pace)
                if time.monotonic() - saved >= self.options.checkpoint_seconds and state.step < self.plan.steps:
                    self.checkpoints.save(state)
                    saved = time.monotonic()
        except Cancelled:
            if state.step:
                self.checkpoints.save(state)
            raise

    def _step(self, state: TrainState, pace: Pace) -> None:
        started = time.monotonic()
        examples = [self.rows[row] for row in self.plan.batch(state.step)]
        rate = self._learning_rate(state.step)
        # Dropout of a step depends on seed and step alone, wherever the training was resumed.
        torch.manual_seed(self.options.seed * 1_000_003 + state.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._accumulate_gradients(examples)
        if not math.isfinite(loss):
            raise FailedPrecondition(
                f"the loss is {loss} at step {state.step + 1}; lower training.learning_rate, now "
                f"{self.options.learning_rate:g}",
                field="training.learning_rate",
            )
        self._update(rate)
        return_free_memory()
        tokens = sum(example.length for example in examples)
        state.step += 1
        state.trained_tokens += tokens
        state.curve.append({"step": state.step, "loss": loss, "learning_rate": rate, "tokens": state.trained_tokens})
        pace.trained(tokens, time.monotonic() - started)
        self.context.report(training_progress(state, pace, self.plan))

    def _accumulate_gradients(self, examples: Sequence[TokenExample]) -> float:
        """Gradients of the mean loss over all answer tokens of the step, whatever the micro batches are."""
        answer_tokens = sum(example.answer_tokens for example in examples)
        total = 0.0
        for batch in self._micro_batches(examples):
            self.context.raise_if_stopping()
            loss = self._loss_sum(batch) / answer_tokens
            self.scaler.scale(loss).backward()
            total += loss.item()
        return total

    def _update(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.unscale_(self.optimizer)
        if self.options.max_gradient_norm:
            torch.nn.utils.clip_grad_norm_(trainable(self.student).values(), self.options.max_gradient_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _loss_sum(self, batch: MicroBatch) -> torch.Tensor:
        """Summed cross-entropy in nats over the batch's answer tokens; logits only where some row has loss."""
        device = self.compute.device
        with self.compute.autocast():
            logits = self.student(
                input_ids=batch.tokens.to(device),
                attention_mask=batch.attention.to(device) if batch.attention is not None else None,
                logits_to_keep=batch.positions.to(device),
                use_cache=False,
            ).logits
        kept = batch.targets.to(device).reshape(-1)
        return cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), kept, reduction="sum")

    @torch.no_grad()
    def _evaluate(self, state: TrainState, pace: Pace) -> None:
        """Mean loss over the tuning rows' answer tokens; the best weights so far are kept."""
        started = time.monotonic()
        self.student.eval()
        try:
            total, rows = 0.0, 0
            for batch in self._micro_batches(self.tuning_rows):
                self.context.raise_if_stopping()
                self.context.report(evaluation_progress(state, pace, self.plan, rows=rows, of=len(self.tuning_rows)))
                total += self._loss_sum(batch).item()
                rows += batch.tokens.shape[0]
        finally:
            self.student.train()
        loss = total / sum(row.answer_tokens for row in self.tuning_rows)
        state.evaluated_step = state.step
        state.curve[-1]["tuning_loss"] = loss
        if state.best_tuning_loss is None or loss < state.best_tuning_loss:
            state.best_tuning_loss, state.best_step = loss, state.step
            state.best_weights = copy_weights(self.student)
        pace.evaluated(time.monotonic() - started)
        self.context.report(training_progress(state, pace, self.plan))

    def _micro_batches(self, examples: Sequence[TokenExample]) -> list[MicroBatch]:
        """What fits at once; where the request leaves it open, a CPU takes few tokens at a time, a GPU the batch."""
        rows = min(self.options.micro_batch_size or self.options.batch_size, self.options.batch_size)
        free = self.options.micro_batch_size == 0 and self.compute.device == "cpu"
        tokens = _CPU_TOKENS if free else rows * self.options.max_length
        return micro_batches(examples, rows=rows, tokens=tokens, pad=self.pad)

    def _learning_rate(self, step: int) -> float:
        return learning_rate_at(
            step,
            steps=self.plan.steps,
            peak=self.options.learning_rate,
            schedule=self.options.schedule,
            warmup_fraction=self.options.warmup_fraction,
        )
