"""Causal attention for training in bfloat16 on a CPU, twice as fast as torch's own there.

`model` selects it by name; transformers calls it. It knows no model: queries, keys and values in, attended values out.
"""

from __future__ import annotations

from typing import Any

import torch

NAME = "blocked_causal"

_BLOCK = 128
"""Queries at a time: a block sees only the keys up to its own end, so half of the square is never computed. Measured
with 1,240 tokens, 9 heads of 64, bfloat16, one thread: forward and backward 39 ms against 82 ms of torch's
scaled_dot_product_attention; blocks of 160 to 320 take 48 ms."""


class _BlockedCausalAttention(torch.autograd.Function):
    """Shapes: queries (batch, groups, heads a group, length, width), keys and values (batch, groups, length, width).

    Grouped-query attention (Ainslie et al., arXiv:2305.13245) without copies of keys and values: the heads of a group
    are rows of one matrix product. Scores are rounded to the arithmetic's format, the softmax is taken in float32.
    """

    @staticmethod
    def forward(
        ctx: Any, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
    ) -> torch.Tensor:
        length = queries.shape[3]
        mask = torch.full((_BLOCK, _BLOCK), float("-inf"), dtype=queries.dtype).triu_(1)
        attended = torch.empty_like(queries)
        weights = []
        for start in range(0, length, _BLOCK):
            end = min(start + _BLOCK, length)
            scores = _rows(queries, start, end, scale) @ keys[:, :, :end].transpose(-1, -2)
            square = scores.view(*queries.shape[:3], end - start, end)
            square[..., start:] += mask[: end - start, : end - start]
            probabilities = torch.softmax(scores, -1)
            attended[:, :, :, start:end] = (probabilities @ values[:, :, :end]).view_as(attended[:, :, :, start:end])
            weights.append(probabilities)
        ctx.save_for_backward(queries, keys, values, *weights)
        ctx.scale = scale
        return attended

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        queries, keys, values, *weights = ctx.saved_tensors
        of_queries = torch.empty_like(queries)
        # Summed over the blocks in float32: in bfloat16 each sum would lose bits.
        of_keys = torch.zeros(keys.shape, dtype=torch.float32)
        of_values = torch.zeros(values.shape, dtype=torch.float32)
        length = queries.shape[3]
        for start, probabilities in zip(range(0, length, _BLOCK), weights, strict=True):
            end = min(start + _BLOCK, length)
            outer = _rows(gradients[0], start, end, 1.0)
            of_values[:, :, :end] += probabilities.transpose(-1, -2) @ outer
            of_probabilities = outer @ values[:, :, :end].transpose(-1, -2)
            of_scores = torch._softmax_backward_data(of_probabilities, probabilities, -1, probabilities.dtype)
            block = (of_scores @ keys[:, :, :end]).mul_(ctx.scale)
            of_queries[:, :, :, start:end] = block.view_as(of_queries[:, :, :, start:end])
            of_keys[:, :, :end] += of_scores.transpose(-1, -2) @ _rows(queries, start, end, ctx.scale)
        return of_queries, of_keys.to(keys.dtype), of_values.to(values.dtype), None


def blocked_causal_attention(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, scale: float
) -> torch.Tensor:
    """Causal attention: queries (batch, heads, length, width), keys and values (batch, groups, length, width).

    `heads` is a multiple of `groups`. Equals scaled_dot_product_attention(is_causal=True) up to rounding.
    """
    batch, heads, length, width = queries.shape
    groups = keys.shape[1]
    # Rotary embedding leaves queries and keys in float32; the values have the arithmetic's format.
    grouped = queries.to(values.dtype).reshape(batch, groups, heads // groups, length, width)
    keys, values = keys.to(values.dtype).contiguous(), values.contiguous()
    with torch.autocast(queries.device.type, enabled=False):
        attended: torch.Tensor = _BlockedCausalAttention.apply(grouped, keys, values, scale)  # type: ignore[no-untyped-call]
    return attended.reshape(batch, heads, length, width)


def register() -> None:
    """Makes the attention known to transformers under NAME."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface; what is not plain causal self-attention goes to torch's own."""
    is_plain = attention_mask is None and not dropout and query.shape[2] == key.shape[2] > 1
    if not is_plain or not getattr(module, "is_causal", True) or value.shape[-1] != query.shape[-1]:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        attended, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **settings
        )
        return attended, None
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    return blocked_causal_attention(query, key, value, scale=scale).transpose(1, 2).contiguous(), None


def _rows(tensor: torch.Tensor, start: int, end: int, scale: float) -> torch.Tensor:
    """A block of (batch, groups, heads, length, width) as matrices (batch, groups, heads x block, width), scaled."""
    block = tensor[:, :, :, start:end]
    block = block * scale if scale != 1.0 else block
    return block.reshape(*tensor.shape[:2], -1, tensor.shape[-1])
