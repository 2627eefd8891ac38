"""Attention by document is attention under the mask of the documents."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from longspan.parallel.documents import attention_by_document, document_boundaries

LENGTHS = (17, 1, 14, 20, 12)
ROWS, LENGTH = 2, 32


def inputs(kv_heads: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(ROWS, heads, LENGTH, 8) for heads in (4, kv_heads, kv_heads)]
    return [torch.randn(*each, generator=generator, requires_grad=True) for each in shapes]


def mask(window: int | None) -> Tensor:
    """Bool [rows, 1, S, S]: the same document, not later, within the window."""
    documents = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    documents = documents.view(ROWS, 1, LENGTH)
    places = torch.arange(LENGTH)
    distance = places[:, None] - places[None]
    visible = (distance >= 0) & (distance < (window or LENGTH))
    return visible & (documents.unsqueeze(-1) == documents.unsqueeze(-2))


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("window", [None, 1, 5, 16, 64])
def test_outputs_and_gradients_are_those_under_a_mask(kv_heads: int, window: int | None) -> None:
    query, key, value = inputs(kv_heads)
    output, _ = attention_by_document(
        torch.nn.Identity(),
        query,
        key,
        value,
        None,
        document_lengths=LENGTHS,
        scaling=0.3,
        sliding_window=window,
    )
    keys, values = (t.repeat_interleave(4 // kv_heads, dim=1) for t in (key, value))
    expected = functional.scaled_dot_product_attention(
        query, keys, values, attn_mask=mask(window), scale=0.3
    ).transpose(1, 2)
    torch.testing.assert_close(output, expected)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    own, whole = (
        torch.autograd.grad((each * weights).sum(), (query, key, value))
        for each in (output, expected)
    )
    torch.testing.assert_close(own, whole)


def test_boundaries_are_edges_in_all_rows_together() -> None:
    positions = torch.tensor([[0, 1, 2, 0], [3, 4, 0, 1]])
    found = document_boundaries(positions)
    assert found["cu_seq_lens_q"].tolist() == [0, 3, 4, 6, 8]
    assert found["cu_seq_lens_q"].dtype == torch.int32
    assert found["max_length_k"] == 3


def test_what_changes_the_scores_is_refused() -> None:
    with pytest.raises(ValueError, match="does not take softcap"):
        query, key, value = inputs(4)
        module = torch.nn.Identity()
        attention_by_document(
            module, query, key, value, None, document_lengths=LENGTHS, softcap=30.0
        )
