from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from stillhouse.trainer.attention import blocked_causal_attention


@pytest.mark.parametrize("length", [2, 127, 128, 129, 300])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2)])
def test_blocked_attention_and_its_gradients_equal_torchs_own(length: int, heads: int, groups: int) -> None:
    torch.manual_seed(1)
    queries = torch.randn(2, heads, length, 16, requires_grad=True)
    keys = torch.randn(2, groups, length, 16, requires_grad=True)
    values = torch.randn(2, groups, length, 16, requires_grad=True)
    outer = torch.randn(2, heads, length, 16)

    expected = scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True, scale=0.3)
    expected_gradients = torch.autograd.grad(expected, (queries, keys, values), outer)
    attended = blocked_causal_attention(queries, keys, values, scale=0.3)
    gradients = torch.autograd.grad(attended, (queries, keys, values), outer)

    torch.testing.assert_close(attended, expected, rtol=1e-4, atol=1e-5)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=2e-5)


def test_a_position_attends_to_nothing_after_it() -> None:
    torch.manual_seed(2)
    keys, values, queries = torch.randn(3, 1, 2, 200, 8)
    before = blocked_causal_attention(queries, keys, values, scale=1.0)
    keys[:, :, 150:], values[:, :, 150:] = 9.0, -9.0

    after = blocked_causal_attention(queries, keys, values, scale=1.0)

    assert torch.equal(before[:, :, :150], after[:, :, :150])
    assert not torch.equal(before[:, :, 150:], after[:, :, 150:])
