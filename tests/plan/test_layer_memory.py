"""The memory estimate against the tensors of an 8B-shaped layer, which are counted without being computed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface, AutoModelForCausalLM, LlamaConfig

from longspan.model import tiling
from longspan.model.tiled_norms import tile_norms
from longspan.parallel.ulysses import SharedAttention, SharedRows, decoder_arguments, install
from longspan.plan.layer_memory import layer_bytes
from longspan.plan.memory import Workload
from longspan.plan.savers import Savers
from tests.live_bytes import LiveBytes
from tests.model_facts import LLAMA3_8B

TOKENS, LAYERS, TILE = 2**18, 2, 2**15
COUNTED = "flash_attention_2"
SMALLER, LARGER = 0.99, 1.5
"""Bounds of the estimate over what is counted: it is to be conservative."""


class Kernel(torch.autograd.Function):
    """Tensors that FlashAttention 2 makes, without values."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        batch, heads, length, _ = query.shape
        output = query.new_empty(batch, length, heads, value.shape[-1])
        row_sums = query.new_empty(batch, heads, length, dtype=torch.float32)
        ctx.save_for_backward(query, key, value, output, row_sums)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        query, key, value, _, row_sums = ctx.saved_tensors
        _held = (
            gradients[0].contiguous(),
            torch.empty_like(query, dtype=torch.float32),
            row_sums * 2,
        )
        results = tuple(torch.empty_like(tensor) for tensor in (query, key, value))
        if key.shape[1] < query.shape[1]:
            _held += torch.empty_like(query), torch.empty_like(query)
        return results


class Exchanged(torch.autograd.Function):
    """What an exchange within a group receives, without values."""

    @staticmethod
    def forward(ctx: Any, sent: Tensor) -> Tensor:
        return torch.empty_like(sent)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return torch.empty_like(gradients[0].contiguous())


class Group:
    """As many ranks as one process can count for: its own part of the exchange."""

    def __init__(self, degree: int) -> None:
        self.degree = degree

    def all_to_all(self, tensor: Tensor) -> Tensor:
        return Exchanged.apply(tensor)


def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Any:
    return Kernel.apply(query, key, value), None


@pytest.fixture
def built() -> Callable[[Savers], Any]:
    """Two layers of the model, without values, with savers that do not need a device."""

    def built(savers: Savers) -> Any:
        AttentionInterface.register(COUNTED, attend)
        install(COUNTED)
        facts = LLAMA3_8B
        config = LlamaConfig(
            hidden_size=facts.hidden,
            intermediate_size=facts.intermediate,
            num_hidden_layers=LAYERS,
            num_attention_heads=facts.heads,
            num_key_value_heads=facts.kv_heads,
            vocab_size=128,
            max_position_embeddings=2**23,
        )
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                config, dtype=torch.bfloat16, attn_implementation="sdpa", trust_remote_code=False
            )
        model.config._attn_implementation = COUNTED
        if savers.tiled_mlp:
            tile_norms(model, TILE)
            tiling.tile_mlps(model, TILE)
        if savers.activation_checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        return model.train().model

    return built


def counted(decoder: Any, degree: int, headwise: bool) -> int:
    """Most bytes that exist in a pass through the layers, forward and backward, without their output."""
    inputs = torch.empty(1, TOKENS, LLAMA3_8B.hidden, dtype=torch.bfloat16, device="meta")
    positions = torch.empty(1, TOKENS, dtype=torch.int64, device="meta")
    rows = SharedRows(Group(degree), {}, (TOKENS * degree,), headwise)
    arguments = decoder_arguments(rows, inputs.device)
    with LiveBytes() as live, patch.object(tiling, "_float32_product", float32_product):
        # A copy, so that the first layer's input is counted.
        hidden = decoder(
            inputs_embeds=inputs.requires_grad_().clone(),
            position_ids=positions,
            use_cache=False,
            **arguments,
        ).last_hidden_state
        hidden.backward(torch.empty_like(hidden))
    return live.peak - hidden.untyped_storage().nbytes()


def float32_product(left: Tensor, right: Tensor) -> Tensor:
    """On a GPU nothing else is allocated."""
    return left.new_empty(len(left), right.shape[1], dtype=torch.float32)


RECOMPUTED = Savers(activation_checkpointing=True)
TILED = replace(RECOMPUTED, tiled_mlp=True)
HEADWISE = replace(TILED, headwise_attention=True)


@pytest.mark.parametrize("degree", [1, 8])
@pytest.mark.parametrize("savers", [Savers(), RECOMPUTED, TILED, HEADWISE], ids=str)
def test_the_estimate_is_that_of_the_layers_tensors(
    built: Callable[[Savers], Any], savers: Savers, degree: int
) -> None:
    decoder = built(savers)
    decoder.norm = torch.nn.Identity()
    found = counted(decoder, degree, savers.headwise_attention)
    workload = Workload(TOKENS * degree, sequence_parallel=degree, savers=savers, mlp_tile=TILE)
    layers = layer_bytes(replace(LLAMA3_8B, layers=LAYERS), workload, 2)
    # ZeRO has a place of its own for them.
    weight_gradients = sum(2 * parameter.numel() for parameter in decoder.layers.parameters())
    estimate = layers.kept + layers.work + weight_gradients
    assert SMALLER * found < estimate < LARGER * found, f"{estimate / found:.3f}"


@pytest.mark.parametrize("degree", [2, 4, 8])
def test_heads_that_take_turns_need_less_forward_and_backward(degree: int) -> None:
    tokens, facts = 2**18, LLAMA3_8B
    attention = SharedAttention(attend, COUNTED)

    def peaks(headwise: bool) -> tuple[int, int]:
        query, key, value = (
            torch.empty(1, tokens, heads, facts.head_dim, dtype=torch.bfloat16, device="meta")
            .transpose(1, 2)
            .requires_grad_()
            for heads in (facts.heads, facts.kv_heads, facts.kv_heads)
        )
        rows = SharedRows(Group(degree), {}, (tokens * degree,), headwise)
        with LiveBytes() as live:
            live.ignore(query, key, value)
            output, _ = attention(torch.nn.Module(), query, key, value, None, shared_rows=rows)
            forward, live.peak = live.peak, live.now
            output.backward(torch.empty_like(output))
        return forward, live.peak

    whole, headwise = peaks(False), peaks(True)
    assert headwise[0] < 0.9 * whole[0]
    assert headwise[1] < 0.6 * whole[1]
