"""Tensors of the decoder layers on a training worker's device, in bytes, at the moments when there are most of them.

Counted are the tensors that autograd keeps of a Llama-like layer in transformers, as Korthikanti et al. do for GPT
(arXiv 2205.05198, section 4.1), and those that exist while its gradients are computed. A layer's backward pass has
three such moments: the MLP, the norm before it, and attention. The tensors of both norms are counted in all of them,
although some are freed before attention: the model does not count on freed memory being used again at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longspan.model.facts import ModelFacts
    from longspan.plan.memory import Workload

_LAYER_INPUTS_ON_DEVICE = 2
"""Layer inputs that are on the device at one time: the one in use, and the one being copied."""


@dataclass(frozen=True)
class LayerBytes:
    """Tensors of all layers together.

    Attributes:
        kept: from the forward pass to the backward pass.
        work: besides them, while one layer's gradients are computed.
        exchange: part of ``work``: copies that workers which share a row send each other for attention.
    """

    kept: int
    work: int
    exchange: int


@dataclass(frozen=True)
class _Sizes:
    """Sizes of a layer; ``tokens`` are those of a forward pass on one worker."""

    facts: ModelFacts
    tokens: int
    element: int
    tile: int
    """Tokens of a tile; all tokens where nothing is tiled."""

    @property
    def is_tiled(self) -> bool:
        return self.tile < self.tokens

    @property
    def hidden(self) -> int:
        """Hidden states in the layer's own type."""
        return self.tokens * self.facts.hidden * self.element

    @property
    def queries(self) -> int:
        return self.tokens * self.facts.heads * self.facts.head_dim * self.element

    def keys(self, degree: int) -> int:
        """Keys, or values; a key-value head is copied where there are fewer than workers."""
        heads = max(self.facts.kv_heads, degree)
        return self.tokens * heads * self.facts.head_dim * self.element

    @property
    def intermediate(self) -> int:
        return self.tokens * self.facts.intermediate * self.element


def layer_bytes(facts: ModelFacts, workload: Workload, element: int) -> LayerBytes:
    """Return the bytes of a workload's layers.

    Args:
        facts: of the model.
        workload: tokens and savers.
        element: bytes of an activation.
    """
    tokens, savers = workload.tokens, workload.savers
    tile = min(tokens, workload.mlp_tile or facts.hidden) if savers.tiled_mlp else tokens
    sizes = _Sizes(facts, tokens, element, tile)
    attention = _attention_kept(sizes, workload)
    saved = 2 * _norm_kept(sizes) + attention + _mlp_kept(sizes)
    if savers.activation_checkpointing:
        inputs = _LAYER_INPUTS_ON_DEVICE if savers.offload_activations else facts.layers
        kept, recomputed = min(inputs, facts.layers) * sizes.hidden, saved
    else:
        kept, recomputed = facts.layers * saved, 0
    exchange = _exchange(sizes, workload)
    # The gradient of the layer's output, and positions as cosines and sines.
    always = sizes.hidden + 2 * tokens * facts.head_dim * element
    without_mlp = max(0, recomputed - _mlp_kept(sizes))
    in_mlp = recomputed + _mlp_gradients(sizes)
    in_norm = without_mlp + _norm_gradients(sizes)
    # The output's gradient takes the place of the output itself, which is freed before.
    freed = _own_output(sizes, workload) if recomputed else 0
    in_attention = (
        without_mlp - freed + sizes.hidden + exchange + _attention_gradients(sizes, workload)
    )
    return LayerBytes(kept, always + max(in_mlp, in_norm, in_attention), exchange)


def final_norm_bytes(facts: ModelFacts, workload: Workload, element: int) -> int:
    """Tensors kept of the last norm, and the gradient of its output, while the loss is computed."""
    tokens = workload.tokens
    tile = min(tokens, workload.mlp_tile or facts.hidden) if workload.savers.tiled_mlp else tokens
    sizes = _Sizes(facts, tokens, element, tile)
    return _norm_kept(sizes) + sizes.hidden


def _norm_kept(sizes: _Sizes) -> int:
    """One norm: its input and output, or untiled its input in fp32, the normed value and that times the weight."""
    return 2 * sizes.hidden + (0 if sizes.is_tiled else 4 * sizes.tokens * sizes.facts.hidden)


def _norm_gradients(sizes: _Sizes) -> int:
    """Five tensors in fp32, and the gradient of the input."""
    return sizes.hidden + 5 * 4 * sizes.tile * sizes.facts.hidden


def _mlp_kept(sizes: _Sizes) -> int:
    """The gate before and after its activation, the other half, and their product; nothing if tiled."""
    return 0 if sizes.is_tiled else 4 * sizes.intermediate


def _mlp_gradients(sizes: _Sizes) -> int:
    """Gradients of the product and of the gate beside those that take the places of what is freed.

    Tiles add the gradients of their inputs, beside the joined one, the tensors of one tile and, in bf16, the weights'
    gradients in fp32 (three matrices, and one product that is added to them).
    """
    if not sizes.is_tiled:
        return sizes.hidden + 2 * sizes.intermediate
    facts, element = sizes.facts, sizes.element
    sums = 4 * 4 * facts.hidden * facts.intermediate if element == 2 else 0
    return 2 * sizes.hidden + 6 * element * sizes.tile * facts.intermediate + sums


def _attention_kept(sizes: _Sizes, workload: Workload) -> int:
    """Queries, keys and values as attention takes them, its output, and its row sums in fp32."""
    kernel = 2 * sizes.queries + 2 * sizes.keys(workload.sequence_parallel)
    return kernel + 4 * sizes.tokens * sizes.facts.heads + _own_output(sizes, workload)


def _own_output(sizes: _Sizes, workload: Workload) -> int:
    """Output of attention for a worker's own tokens, where it is another tensor than the kernel's."""
    is_copied = workload.sequence_parallel > 1 or workload.savers.headwise_attention
    return sizes.queries if is_copied else 0


def _exchange(sizes: _Sizes, workload: Workload) -> int:
    """Send and receive copies of queries, keys, values and output under Ulysses (arXiv 2309.14509)."""
    if workload.sequence_parallel == 1:
        return 0
    queries, keys = _at_a_time(sizes, workload)
    return 2 * (2 * queries + 2 * keys)


def _attention_gradients(sizes: _Sizes, workload: Workload) -> int:
    """Buffers of FlashAttention 2's backward pass: fp32 sums of the queries' gradients, and the gradients.

    Those of keys and values exist for every query head before they are summed for each key-value head.
    """
    queries, keys = _at_a_time(sizes, workload)
    sums = 4 * queries // sizes.element
    expanded = 2 * queries if keys < queries else 0
    return sums + expanded + queries + 2 * keys


def _at_a_time(sizes: _Sizes, workload: Workload) -> tuple[int, int]:
    """Queries, and keys (or values), that a worker computes attention with at one time."""
    degree = workload.sequence_parallel
    queries, keys = sizes.queries, sizes.keys(degree)
    if not workload.savers.headwise_attention:
        return queries, keys
    heads, kv_heads = sizes.facts.heads // degree, max(1, sizes.facts.kv_heads // degree)
    return -(-queries // max(1, heads)), -(-keys // kv_heads)
