import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from tests.tiny import make_tiny_model


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with tied embeddings: window 256, RoPE base 10,000."""
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def tiny_untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "untied", tied=False)


@pytest.fixture
def varlen_by_hand() -> Iterator[list[int]]:
    """A plain implementation of what FlashAttention's kernel does with the boundaries it is given.

    Yields the longest sequence that each call was given.
    """
    longest: list[int] = []

    def attend(
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *,
        scaling: float,
        cu_seq_lens_q: Tensor,
        cu_seq_lens_k: Tensor,
        max_length_q: int,
        max_length_k: int,
        **ignored: Any,
    ) -> tuple[Tensor, None]:
        assert attention_mask is None
        assert torch.equal(cu_seq_lens_q, cu_seq_lens_k) and max_length_q == max_length_k
        assert cu_seq_lens_q.dtype == torch.int32
        longest.append(max_length_q)
        rows, heads, length = query.shape[:3]
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

    AttentionInterface.register("varlen_by_hand", attend)
    AttentionMaskInterface.register("varlen_by_hand", lambda *_, **__: None)
    yield longest
