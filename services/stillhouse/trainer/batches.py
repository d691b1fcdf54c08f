"""Which records go into which optimizer step, and how a step is cut into micro batches that fit into memory.

The order depends on seed and epoch alone, so a training that resumes anywhere sees the rows it would have seen.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from stillhouse.trainer.examples import TokenExample


@dataclass(frozen=True)
class MicroBatch:
    """Rows that are computed together, padded on the right.

    `tokens` and `attention` are (rows, length) int64; `positions` are the sequence positions whose logits any row
    needs, (kept,); `targets` are (rows, kept) token ids with IGNORED where a row has no loss.
    """

    tokens: torch.Tensor
    attention: torch.Tensor | None
    positions: torch.Tensor
    targets: torch.Tensor
    token_count: int


@dataclass(frozen=True)
class Plan:
    """The steps of a training: `steps_per_epoch` x epochs, or fewer by max_steps."""

    rows: int
    batch_size: int
    epochs: int
    max_steps: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """The last step of an epoch may have fewer rows."""
        return math.ceil(self.rows / self.batch_size)

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        steps = self.steps_per_epoch * self.epochs
        return min(steps, self.max_steps) if self.max_steps else steps

    def batch(self, step: int) -> list[int]:
        """Row numbers of that step; steps count from 0."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = epoch_order(self.rows, seed=self.seed, epoch=epoch)
        return order[place * self.batch_size : (place + 1) * self.batch_size]

    def evaluation_steps(self, evaluations_per_epoch: int) -> frozenset[int]:
        """After how many finished steps the tuning rows are evaluated: evenly within an epoch, and at the end."""
        due = {
            epoch * self.steps_per_epoch + round(self.steps_per_epoch * part / evaluations_per_epoch)
            for epoch in range(self.epochs)
            for part in range(1, evaluations_per_epoch + 1)
        }
        return frozenset({step for step in due if 0 < step < self.steps} | {self.steps})


def epoch_order(rows: int, *, seed: int, epoch: int) -> list[int]:
    """A permutation of the row numbers, by seed and epoch alone."""
    order = list(range(rows))
    random.Random(f"{seed}:{epoch}").shuffle(order)  # noqa: S311  (an order, no secret)
    return order


def micro_batches(examples: Sequence[TokenExample], *, rows: int, tokens: int, pad: int) -> list[MicroBatch]:
    """The rows of a step by length, cut into groups of at most `rows` rows and (but for a single row) `tokens` tokens.

    Rows of like length waste no arithmetic on padding.
    """
    groups: list[list[TokenExample]] = []
    for example in sorted(examples, key=lambda example: example.length, reverse=True):
        group = groups[-1] if groups else []
        if group and len(group) < rows and group[0].length * (len(group) + 1) <= tokens:
            group.append(example)
        else:
            groups.append([example])
    return [_collate(group, pad) for group in groups]


def _collate(examples: Sequence[TokenExample], pad: int) -> MicroBatch:
    length = max(example.length for example in examples)
    tokens = torch.full((len(examples), length), pad, dtype=torch.int64)
    labels = torch.full((len(examples), length), -100, dtype=torch.int64)
    attention = torch.zeros((len(examples), length), dtype=torch.int64)
    for row, example in enumerate(examples):
        tokens[row, : example.length] = torch.tensor(example.tokens)
        labels[row, : example.length] = torch.tensor(example.labels)
        attention[row, : example.length] = 1
    # The logits at a position predict the token after it.
    shifted = labels[:, 1:]
    positions = (shifted != -100).any(dim=0).nonzero().squeeze(1)
    padded = any(example.length < length for example in examples)
    return MicroBatch(
        tokens=tokens,
        attention=attention if padded else None,
        positions=positions,
        targets=shifted[:, positions],
        token_count=sum(example.length for example in examples),
    )
