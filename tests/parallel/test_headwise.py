"""Heads that take turns give the outputs and gradients of all heads at once, in less memory."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from longspan.parallel.groups import SequenceGroup
from longspan.parallel.simulated import SimulatedRank, run_ranks
from longspan.parallel.ulysses import SharedAttention, SharedRows
from tests.live_bytes import LiveBytes

LENGTH, SIZE = 48, 8
DOCUMENTS = [(20, 21, 7), (5, 43)]
POSITIONS = torch.stack([torch.cat([torch.arange(n) for n in each]) for each in DOCUMENTS])
ATTENTION = SharedAttention(lambda *_, **__: (), "sdpa")
"""SDPA is computed by document."""


class Layer(nn.Module):
    """What transformers' functions read of an attention layer."""

    def __init__(self, sharers: int) -> None:
        super().__init__()
        self.num_key_value_groups = sharers


def inputs(heads: int, kv_heads: int, length: int = LENGTH, rows: int = 2) -> list[Tensor]:
    """Queries, keys and values, in the layout of projections."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(rows, length, n, SIZE, generator=generator).transpose(1, 2)
        for n in (heads, kv_heads, kv_heads)
    ]


def results(rows: SharedRows, tensors: list[Tensor], sliding_window: int | None) -> list[Tensor]:
    """The output [B, S, H, D], and the gradients of its sum of squares."""
    query, key, value = leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    layer = Layer(query.shape[1] // key.shape[1])
    output, _ = ATTENTION(
        layer, query, key, value, None, shared_rows=rows, sliding_window=sliding_window
    )
    return [output.detach(), *torch.autograd.grad(output.square().sum(), leaves)]


@pytest.mark.parametrize("sliding_window", [None, 7])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (8, 1), (6, 3)])
def test_outputs_and_gradients_are_those_of_all_heads_at_once(
    heads: int, kv_heads: int, sliding_window: int | None
) -> None:
    rows = SharedRows.from_positions(SequenceGroup.single(0, 1), POSITIONS)
    tensors = inputs(heads, kv_heads)
    expected = results(rows, tensors, sliding_window)
    found = results(replace(rows, headwise=True), tensors, sliding_window)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("headwise", [False, True])
@pytest.mark.parametrize(
    ("degree", "heads", "kv_heads"), [(2, 4, 4), (2, 8, 2), (4, 8, 2), (4, 8, 8), (4, 8, 1)]
)
def test_outputs_of_ranks_are_those_of_whole_rows(
    degree: int, heads: int, kv_heads: int, headwise: bool
) -> None:
    tensors = inputs(heads, kv_heads)
    whole = SharedRows.from_positions(SequenceGroup.single(0, 1), POSITIONS)
    expected = results(whole, tensors, None)[0]

    def output(rank: SimulatedRank) -> Tensor:
        query, key, value = (tensor[:, :, rank.slice_of(LENGTH)] for tensor in tensors)
        rows = SharedRows.from_positions(rank, POSITIONS, headwise)
        layer = Layer(heads // kv_heads)
        return ATTENTION(layer, query, key, value, None, shared_rows=rows)[0]

    with torch.no_grad():
        found = torch.cat(run_ranks(degree, output), dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("heads", [(8, 8), (16, 4)], ids=str)
def test_one_head_at_a_time_takes_less_memory_forward_and_backward(heads: tuple[int, int]) -> None:
    length = 1024
    rows = SharedRows.from_positions(SequenceGroup.single(0, 1), torch.arange(length)[None])
    tensors = inputs(*heads, length=length, rows=1)

    def peaks(headwise: bool) -> tuple[int, int]:
        query, key, value = (tensor.detach().requires_grad_() for tensor in tensors)
        layer, used = Layer(heads[0] // heads[1]), replace(rows, headwise=headwise)
        with LiveBytes() as live:
            live.ignore(query, key, value)
            output, _ = ATTENTION(layer, query, key, value, None, shared_rows=used)
            forward, live.peak = live.peak, live.now
            output.backward(torch.ones_like(output))
        return forward, live.peak

    whole, headwise = peaks(False), peaks(True)
    assert headwise[0] <= whole[0]
    assert headwise[1] < 0.9 * whole[1]
