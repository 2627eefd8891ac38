"""Attention within documents that are packed into rows, without a mask in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_UNSUPPORTED = ("softcap", "s_aux", "position_bias")
"""Arguments of transformers' attention functions that change the scores, which SDPA does not take by itself."""


def document_boundaries(positions: Tensor) -> dict[str, Any]:
    """Document boundaries as arguments of FlashAttention's kernels for several sequences.

    Left to itself transformers finds them only for a single row: with two or more it would let
    attention cross documents, without a word. Given, they also save a search in every layer.

    Args:
        positions: int64 [B, S]; 0 where a document begins. A row always begins one.

    Returns:
        ``cu_seq_lens_q`` and ``cu_seq_lens_k``, int32 [documents + 1], edges in the B * S tokens of all rows;
        ``max_length_q`` and ``max_length_k``, tokens of the longest document.
    """
    begins = positions == 0
    begins[:, 0] = True
    starts = begins.flatten().nonzero().flatten().to(torch.int32)
    edges = functional.pad(starts, (0, 1), value=positions.numel())
    longest = int(edges.diff().max())
    return {
        "cu_seq_lens_q": edges,
        "cu_seq_lens_k": edges,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def attention_by_document(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    document_lengths: Sequence[int],
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention of each document by itself, as an attention function of transformers.

    SDPA is called once per document with ``is_causal``, so that its kernels need memory of O(S), not O(S^2).

    Args:
        module: the attention layer; not used.
        query: [B, H, S, D].
        key: [B, K, S, D]; K divides H.
        value: [B, K, S, E].
        attention_mask: ignored; the documents take its place.
        document_lengths: tokens of each document; they add up to B * S.
        dropout: probability in training.
        scaling: factor of the scores; None is 1 / sqrt(D).
        sliding_window: tokens that each token attends to at most, itself included; None: all before it.
        kwargs: of other implementations.

    Returns:
        Outputs [B, S, H, E], and None in place of the attention's weights.

    Raises:
        ValueError: an argument that this implementation does not take.
    """
    if given := [name for name in _UNSUPPORTED if kwargs.get(name) is not None]:
        raise ValueError(f"attention by document does not take {', '.join(given)}")
    if kwargs.get("is_causal") is False:
        raise ValueError("attention by document is causal")
    batch, heads, length, _ = query.shape
    assert sum(document_lengths) == batch * length, (
        f"documents of {sum(document_lengths)} tokens in {batch} rows of {length}"
    )
    if (repeats := heads // key.shape[1]) > 1:
        key, value = (tensor.repeat_interleave(repeats, dim=1) for tensor in (key, value))
    sizes = list(document_lengths)
    documents = zip(
        *(_end_to_end(tensor).split(sizes, dim=2) for tensor in (query, key, value)), strict=True
    )
    outputs = [_causal(q, k, v, sliding_window, dropout, scaling) for q, k, v in documents]
    together = torch.cat(outputs, dim=2)[0].transpose(0, 1)
    return together.unflatten(0, (batch, length)).contiguous(), None


def _end_to_end(tensor: Tensor) -> Tensor:
    """Return [B, H, S, D] as [1, H, B * S, D]."""
    return tensor.transpose(0, 1).flatten(1, 2)[None]


def _causal(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: int | None,
    dropout: float,
    scaling: float | None,
) -> Tensor:
    """Causal attention of one document, [1, H, n, D] each; a window is computed in blocks of its own size."""
    if window is None or query.shape[2] <= window:
        return functional.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, is_causal=True, scale=scaling
        )
    keys, values = key.split(window, dim=2), value.split(window, dim=2)
    outputs = []
    for number, block in enumerate(query.split(window, dim=2)):
        near = slice(max(number - 1, 0), number + 1)
        k, v = torch.cat(keys[near], dim=2), torch.cat(values[near], dim=2)
        last = torch.arange(block.shape[2], device=query.device) + k.shape[2] - block.shape[2]
        distance = last[:, None] - torch.arange(k.shape[2], device=query.device)
        visible = (distance >= 0) & (distance < window)
        outputs.append(
            functional.scaled_dot_product_attention(
                block, k, v, attn_mask=visible, dropout_p=dropout, scale=scaling
            )
        )
    return torch.cat(outputs, dim=2)
