"""Losses of rows that ranks share are those of whole rows; the ranks are threads here."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from longspan.errors import UserError
from longspan.model.loss import CausalLMLoss
from longspan.parallel.simulated import SimulatedRank, run_ranks
from longspan.parallel.ulysses import SharedRows, install

LENGTH = 48
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "head_dim": 8,
    "max_position_embeddings": 64,
}


def model(kind: str, kv_heads: int, **changes: Any) -> CausalLMLoss:
    config = AutoConfig.for_model(kind, **SIZES, num_key_value_heads=kv_heads, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = AutoModelForCausalLM.from_config(
            config, attn_implementation="sdpa", dtype=torch.float32, trust_remote_code=False
        )
    for parameter in built.parameters():
        if parameter.dim() > 1:
            parameter.data *= 5  # Fresh models have nearly no attention.
    return CausalLMLoss(built.eval(), 16)


def rows() -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, positions and labels of two rows of several documents."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, 64, (2, LENGTH), generator=generator)
    documents = [(20, 21, 7), (5, 43)]
    positions = torch.stack([torch.cat([torch.arange(n) for n in each]) for each in documents])
    return tokens, positions, tokens.roll(-1, dims=1)


def divided(wrapped: CausalLMLoss, degree: int, positions: Tensor | None = None) -> Tensor:
    """Token losses by so many ranks; attention is told of other ``positions`` where given."""
    install("sdpa")
    tensors = rows()

    def losses(rank: SimulatedRank) -> Tensor:
        tokens, own, labels = (tensor[:, rank.slice_of(LENGTH)] for tensor in tensors)
        whole = tensors[1] if positions is None else positions
        shared = SharedRows.from_positions(rank, whole)
        return copy.deepcopy(wrapped).token_losses(tokens, own, labels, shared)

    return torch.cat(run_ranks(degree, losses), dim=1)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {}),
        ("mistral", {"sliding_window": 7}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}),
        ("qwen3", {}),
    ],
)
@pytest.mark.parametrize(("degree", "kv_heads"), [(2, 4), (2, 2), (2, 1), (4, 2)])
def test_token_losses_are_those_of_whole_rows(
    kind: str, changes: dict[str, Any], degree: int, kv_heads: int
) -> None:
    wrapped = model(kind, kv_heads, **changes)
    expected = wrapped.token_losses(*rows())
    torch.testing.assert_close(divided(wrapped, degree), expected, atol=1e-5, rtol=0)
    if "sliding_window" in changes:
        wrapped.model.config.sliding_window = LENGTH
        unlimited = wrapped.token_losses(*rows())
        assert (unlimited - expected).abs().max() > 0.01, "the window matters here"


def test_the_mask_of_whole_rows_matters() -> None:
    wrapped = model("llama", 2)
    expected = wrapped.token_losses(*rows())
    one_document = torch.arange(LENGTH).repeat(2, 1)
    assert (divided(wrapped, 2, one_document) - expected).abs().max() > 0.1


def test_installing_changes_nothing_where_rows_are_not_shared() -> None:
    wrapped = model("llama", 2)
    expected = wrapped.token_losses(*rows())
    install("sdpa")
    install("sdpa")
    assert torch.equal(wrapped.token_losses(*rows()), expected)


def test_other_implementations_are_refused() -> None:
    with pytest.raises(UserError, match=r"rows cannot be shared with training\.attention eager"):
        install("eager")


def test_a_rank_that_fails_ends_the_others() -> None:
    def fails(rank: SimulatedRank) -> Tensor:
        if rank.rank:
            raise ValueError("it fails")
        return rank.all_to_all(torch.zeros(2, 1))

    with pytest.raises(ValueError, match="it fails"):
        run_ranks(2, fails)
