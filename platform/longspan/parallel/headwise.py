"""Headwise attention: the query heads of a worker take turns, so that buffers exist for one of them at a time.

Attention treats every head by itself. For all heads at once, the copies that workers exchange and the buffers of a
kernel's backward pass (FlashAttention: queries' gradients in float32, keys' and values' for every query head) take
several times as much as what autograd keeps. Source: UPipe (arXiv 2602.21196), in stages of as many query heads as
workers share a row; a key-value head is exchanged once for all query heads that use it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Exchange = Callable[[Tensor], Tensor]
"""Heads of this worker's tokens, [B, degree, m, D], to its own heads of all tokens, [B, 1, S, D]."""
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(queries, keys, values) of all tokens, [B, 1, S, D] each, to outputs of this worker's tokens, [B, m, degree, E]."""


def attend_by_head(
    query: Tensor, key: Tensor, value: Tensor, degree: int, exchange: Exchange, attend: Attend
) -> Tensor:
    """Return attention's outputs [B, m, H, E], computed for one query head of every worker at a time.

    Args:
        query: [B, H, m, D], all heads of this worker's tokens.
        key: [B, K, m, D]; each worker gets at least one head.
        value: [B, K, m, E].
        degree: workers that share the row.
        exchange: of one head for each of them.
        attend: with one query head and its key-value head.
    """
    queries, keys, values = (
        # A worker's heads follow one another, as they do where all are computed at once.
        tensor.unflatten(1, (degree, -1)).unbind(2)
        for tensor in (query, key, value)
    )
    sharers = len(queries) // len(keys)
    assert sharers * len(keys) == len(queries), f"{len(queries)} query heads, {len(keys)} keys"
    outputs: Tensor | None = None
    for number, pair in enumerate(zip(keys, values, strict=True)):
        own_key, own_value = map(exchange, pair)
        for turn in range(number * sharers, (number + 1) * sharers):
            output = attend(exchange(queries[turn]), own_key, own_value)
            if outputs is None:
                outputs = output.new_empty(*output.shape[:3], len(queries), output.shape[3])
            outputs = _Placed.apply(outputs, output, turn)
    assert outputs is not None
    return outputs.flatten(2, 3)


class _Placed(torch.autograd.Function):
    """Write one part of a tensor, in place; every part is written once.

    Parts that are joined by `torch.stack` exist twice, and assigned ones have their gradients copied for each part.
    """

    @staticmethod
    def forward(ctx: Any, whole: Tensor, part: Tensor, index: int) -> Tensor:
        ctx.index = index
        ctx.mark_dirty(whole)
        whole[:, :, :, index] = part
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient,) = gradients
        # Of the other parts; nothing reads this part's place in it again.
        return gradient, gradient[:, :, :, ctx.index], None
