from __future__ import annotations

import torch

from stillhouse.trainer.batches import Plan, epoch_order, micro_batches
from stillhouse.trainer.examples import IGNORED, TokenExample


def example(prompt: int, answer: int, first: int = 100) -> TokenExample:
    return TokenExample(tuple(range(first, first + prompt + answer)), prompt)


def test_every_row_is_seen_once_an_epoch_in_an_order_of_seed_and_epoch() -> None:
    plan = Plan(rows=10, batch_size=4, epochs=3, max_steps=0, seed=7)

    epochs = [[row for step in range(3) for row in plan.batch(3 * epoch + step)] for epoch in range(3)]

    assert plan.steps == 9
    assert all(sorted(order) == list(range(10)) for order in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[1] == epoch_order(10, seed=7, epoch=1)
    assert epoch_order(10, seed=8, epoch=1) != epochs[1]


def test_the_order_is_the_same_on_every_machine() -> None:
    assert epoch_order(8, seed=42, epoch=0) == [4, 7, 6, 2, 0, 3, 5, 1]


def test_max_steps_ends_a_training_early() -> None:
    assert Plan(rows=10, batch_size=4, epochs=3, max_steps=5, seed=7).steps == 5


def test_evaluations_are_even_within_an_epoch_and_there_is_one_at_the_end() -> None:
    plan = Plan(rows=40, batch_size=4, epochs=2, max_steps=0, seed=7)

    assert sorted(plan.evaluation_steps(2)) == [5, 10, 15, 20]
    assert sorted(plan.evaluation_steps(0)) == [20]
    assert sorted(Plan(40, 4, 2, 7, 7).evaluation_steps(2)) == [5, 7]


def test_rows_of_like_length_share_a_micro_batch() -> None:
    rows = [example(4, 2), example(30, 10), example(5, 3), example(28, 10)]

    batches = micro_batches(rows, rows=2, tokens=1000, pad=0)

    assert [batch.tokens.shape for batch in batches] == [(2, 40), (2, 8)]


def test_a_micro_batch_keeps_to_its_tokens_but_for_a_single_long_row() -> None:
    rows = [example(50, 50), example(20, 10), example(20, 10), example(20, 10)]

    batches = micro_batches(rows, rows=4, tokens=64, pad=0)

    assert [tuple(batch.tokens.shape) for batch in batches] == [(1, 100), (2, 30), (1, 30)]


def test_logits_are_kept_only_where_a_row_has_loss() -> None:
    (batch,) = micro_batches([example(4, 2), example(2, 3, first=50)], rows=2, tokens=100, pad=9)

    assert batch.positions.tolist() == [1, 2, 3, 4]
    assert batch.targets.tolist() == [[IGNORED, IGNORED, 104, 105], [52, 53, 54, IGNORED]]
    assert batch.tokens.tolist() == [[100, 101, 102, 103, 104, 105], [50, 51, 52, 53, 54, 9]]
    assert batch.attention is not None
    assert batch.attention.tolist() == [[1] * 6, [1] * 5 + [0]]
    assert batch.token_count == 11


def test_rows_of_equal_length_need_no_mask() -> None:
    (batch,) = micro_batches([example(4, 2), example(3, 3)], rows=2, tokens=100, pad=9)

    assert batch.attention is None
    assert torch.equal(batch.positions, torch.tensor([2, 3, 4]))
