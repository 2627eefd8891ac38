"""Attention functions that are registered with transformers have the losses and gradients of SDPA under a mask."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import varlen
from transformers import AutoConfig, AutoModelForCausalLM

from longspan.model.attention_functions import register, varlen_attention
from longspan.model.loss import CausalLMLoss
from longspan.parallel.documents import attention_by_document

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
WINDOWED = {"sliding_window": 7, "use_sliding_window": True, "max_window_layers": 1}


def model(kind: str, attention: str, **changes: Any) -> CausalLMLoss:
    register(attention)
    config = AutoConfig.for_model(kind, **{**SIZES, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = AutoModelForCausalLM.from_config(
            config, attn_implementation=attention, dtype=torch.float32, trust_remote_code=False
        )
    for parameter in built.parameters():
        if parameter.dim() > 1:
            parameter.data *= 5  # Fresh models have nearly no attention.
    return CausalLMLoss(built, 16)


def rows() -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, positions and labels of two rows of several documents."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, 64, (2, 48), generator=generator)
    documents = [(20, 21, 7), (5, 43)]
    positions = torch.stack([torch.cat([torch.arange(n) for n in each]) for each in documents])
    return tokens, positions, tokens.roll(-1, dims=1)


def plain_varlen(
    query: Tensor, key: Tensor, value: Tensor, edges: Tensor, *_: Any, **kwargs: Any
) -> Tensor:
    """torch's signature of `varlen_attn`, [tokens, heads, D], on any device."""
    assert query.shape[-1] % 8 == 0 and query.shape[-1] == value.shape[-1]
    assert kwargs["enable_gqa"] and query.is_contiguous()
    before, after = kwargs["window_size"]
    assert after == 0
    output = attention_by_document(
        torch.nn.Identity(),
        query.transpose(0, 1)[None],
        key.transpose(0, 1)[None],
        value.transpose(0, 1)[None],
        None,
        document_lengths=edges.diff().tolist(),
        scaling=kwargs["scale"],
        sliding_window=None if before == -1 else before + 1,
    )[0]
    return output[0]


@pytest.mark.parametrize("attention", ["sdpa_by_document", "torch_varlen"])
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {}),
        ("llama", {"head_dim": 12}),
        ("mistral", {"sliding_window": 7}),
        ("qwen2", WINDOWED),
        ("qwen3", {"head_dim": 8, **WINDOWED}),
    ],
)
def test_losses_and_gradients_are_those_of_sdpa(
    attention: str, kind: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(varlen, "varlen_attn", plain_varlen)
    expected, own = model(kind, "sdpa", **changes), model(kind, attention, **changes)
    tokens, positions, labels = rows()
    losses = [each.token_losses(tokens, positions, labels) for each in (own, expected)]
    torch.testing.assert_close(*losses, atol=1e-5, rtol=1e-5)
    for each in (own, expected):
        each(tokens, positions, labels).backward()
    gradients = dict(expected.named_parameters())
    for name, parameter in own.named_parameters():
        torch.testing.assert_close(
            parameter.grad, gradients[name].grad, atol=1e-4, rtol=1e-4, msg=name
        )


@pytest.mark.parametrize("attention", ["sdpa_by_document", "torch_varlen"])
@torch.no_grad()
def test_documents_are_found_by_position_where_boundaries_are_not_given(
    attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(varlen, "varlen_attn", plain_varlen)
    tokens, positions, _ = rows()
    own, expected = (
        model("llama", each).model(tokens, position_ids=positions, use_cache=False).logits
        for each in (attention, "sdpa")
    )
    torch.testing.assert_close(own, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "not told where documents begin"),
        ({"softcap": 30.0}, "does not take softcap"),
        ({"dropout": 0.1}, "no dropout"),
        ({"is_causal": False}, "is causal"),
    ],
)
def test_what_the_kernel_cannot_do_is_refused(given: dict[str, Any], message: str) -> None:
    zeros = torch.zeros(1, 4, 16, 8)
    with pytest.raises(ValueError, match=message):
        varlen_attention(torch.nn.Identity(), zeros, zeros, zeros, None, **given)
