"""A plain implementation of what FlashAttention's kernel does with the boundaries it is given."""

import itertools
from typing import Any

import torch
from torch import Tensor


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    cu_seq_lens_q: Tensor | None = None,
    cu_seq_lens_k: Tensor | None = None,
    max_length_q: int = 0,
    max_length_k: int = 0,
    **ignored: Any,
) -> tuple[Tensor, None]:
    assert attention_mask is None
    if cu_seq_lens_q is None or cu_seq_lens_k is None:  # One document.
        assert query.shape[0] == 1
        cu_seq_lens_q = cu_seq_lens_k = torch.tensor([0, query.shape[2]], dtype=torch.int32)
    assert torch.equal(cu_seq_lens_q, cu_seq_lens_k) and max_length_q == max_length_k
    assert cu_seq_lens_q.dtype == torch.int32
    rows, heads, length = query.shape[:3]
    # Layers of models without shared key-value heads have no such attribute.
    assert getattr(module, "num_key_value_groups", 1) == heads // key.shape[1]
    q, k, v = (t.transpose(0, 1).flatten(1, 2)[None] for t in (query, key, value))
    sequences = [
        torch.nn.functional.scaled_dot_product_attention(
            q[:, :, first:last],
            k[:, :, first:last],
            v[:, :, first:last],
            is_causal=True,
            scale=scaling,
            enable_gqa=True,
        )
        for first, last in itertools.pairwise(cu_seq_lens_q.tolist())
    ]
    joined = torch.cat(sequences, dim=2)[0]
    return joined.view(heads, rows, length, -1).permute(1, 2, 0, 3), None
