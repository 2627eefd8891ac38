"""Comparison of an attention implementation with SDPA on packed rows, forward and backward, before training."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from longspan._compat.transformers import set_attention_implementation
from longspan.errors import UserError
from longspan.model.attention import MASKED, TORCH_VARLEN
from longspan.model.attention_functions import register
from longspan.parallel.documents import document_boundaries

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PretrainedConfig

DOCUMENTS = ((1, 17, 46, 128), (192,))
"""Tokens of the documents of each row."""
WINDOW = 37
"""Tokens of a sliding window, where the model has one: its own is longer than these rows."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 6e-2}
"""Largest norm of a token's difference over the root mean square norm of all tokens, by data type. SDPA by
document on a CPU is within 9e-7 (fp32) and 2.4e-2 (bf16) of SDPA in float32."""


@dataclass(frozen=True)
class Heads:
    """Sizes of one attention layer: query heads, key-value heads, and the dimension of a head."""

    queries: int
    keys: int
    size: int

    @classmethod
    def of_config(cls, config: PretrainedConfig) -> Heads:
        """Return the sizes that a model's config states."""
        queries = config.num_attention_heads
        keys = getattr(config, "num_key_value_heads", None) or queries
        return cls(
            queries, keys, getattr(config, "head_dim", None) or config.hidden_size // queries
        )


def require_like_sdpa(
    implementation: str, config: PretrainedConfig, device: torch.device, dtype: torch.dtype
) -> dict[str, float]:
    """Compare an implementation with SDPA on random packed rows of a few hundred tokens.

    SDPA and eager attention, the model's own code, are the references and are not compared.

    Args:
        implementation: a name that is registered with transformers.
        config: of the model, for the sizes of its attention.
        device: to compute on.
        dtype: of queries, keys and values.

    Returns:
        Relative error by name, see `errors_of`; empty for the references.

    Raises:
        UserError: the implementation fails, differs from SDPA by more than `TOLERANCE`, or cannot do what the model
            needs.
    """
    if implementation in MASKED:
        return {}
    if implementation == TORCH_VARLEN and getattr(config, "attention_dropout", 0.0):
        raise UserError(
            f"training.attention: {TORCH_VARLEN} has no dropout, and the model's attention_dropout is "
            f"{config.attention_dropout}; set training.attention=sdpa_by_document"
        )
    windows = (None, WINDOW) if getattr(config, "sliding_window", None) else (None,)
    found: dict[str, float] = {}
    for window in windows:
        try:
            errors = errors_of(implementation, config, device, dtype, window)
        except Exception as error:  # Kernels fail in ways of their own.
            raise UserError(
                f"training.attention: {implementation} fails on packed rows ({type(error).__name__}: {error}); "
                "install a build for this GPU and torch, or set training.attention=sdpa_by_document"
            ) from error
        found |= {name: max(error, found.get(name, 0.0)) for name, error in errors.items()}
    wrong = {name: error for name, error in found.items() if not error <= TOLERANCE[dtype]}
    if wrong:
        listed = ", ".join(f"{name} by {error:.2g}" for name, error in wrong.items())
        raise UserError(
            f"training.attention: {implementation} differs from SDPA on packed rows ({listed} of a token's typical "
            f"size; at most {TOLERANCE[dtype]:g} in {str(dtype).removeprefix('torch.')}); set "
            "training.attention=sdpa_by_document, or install another build of the kernel"
        )
    return found


def errors_of(
    implementation: str,
    config: PretrainedConfig,
    device: torch.device,
    dtype: torch.dtype,
    window: int | None = None,
) -> dict[str, float]:
    """Return the relative errors of an implementation against SDPA in float32 with a mask.

    Args:
        implementation: a name that is registered with transformers.
        config: of the model.
        device: to compute on.
        dtype: of queries, keys and values.
        window: tokens of a sliding window; None: no window.

    Returns:
        By name (output and the gradients of queries, keys and values): the largest norm of a token's difference,
        over the root mean square norm of all tokens.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    register(implementation)
    heads = Heads.of_config(config)
    layer = LayerAttributes(config, implementation, heads)
    positions = _positions().to(device)
    inputs, weights = _random(heads, device, dtype)
    # Not the default, so that a kernel that ignores it is found.
    scaling = 0.8 * heads.size**-0.5

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        function: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS[implementation]
        boundaries = document_boundaries(positions)
        options = {"scaling": scaling, "sliding_window": window, "position_ids": positions}
        return function(layer, query, key, value, None, **options, **boundaries)[0]

    def reference(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        repeats = heads.queries // heads.keys
        key, value = (tensor.repeat_interleave(repeats, dim=1) for tensor in (key, value))
        output = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=document_mask(positions, window), scale=scaling
        )
        return output.transpose(1, 2)

    own = _results(attend, inputs, weights)
    expected = _results(reference, [tensor.float() for tensor in inputs], weights)
    names = ("output", "query gradient", "key gradient", "value gradient")
    return {name: _error(one, other) for name, one, other in zip(names, own, expected, strict=True)}


class LayerAttributes(nn.Module):
    """Attributes of an attention layer that transformers' attention functions read."""

    def __init__(self, config: PretrainedConfig, implementation: str, heads: Heads) -> None:
        super().__init__()
        self.config = copy.deepcopy(config)
        set_attention_implementation(self.config, implementation)
        self.is_causal = True
        self.layer_idx = 0
        self.num_key_value_groups = heads.queries // heads.keys


def _positions() -> Tensor:
    """Return positions [rows, S], which restart at 0 with every document."""
    return torch.stack([torch.cat([torch.arange(n) for n in row]) for row in DOCUMENTS])


def document_mask(positions: Tensor, window: int | None) -> Tensor:
    """Return a bool mask [rows, 1, S, S]: the same document, not later, within the window."""
    documents = (positions == 0).cumsum(dim=1)
    places = torch.arange(positions.shape[1], device=positions.device)
    distance = places[:, None] - places[None]
    visible = (distance >= 0) & (distance < (window or len(places)))
    return (visible & (documents[:, :, None] == documents[:, None]))[:, None]


def _random(heads: Heads, device: torch.device, dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    """Return queries, keys and values [rows, heads, S, D], and fp32 weights of the outputs [rows, S, H, D]."""
    generator = torch.Generator().manual_seed(0)
    rows, length = len(DOCUMENTS), sum(DOCUMENTS[0])
    shapes = [
        (rows, count, length, heads.size) for count in (heads.queries, heads.keys, heads.keys)
    ]
    inputs = [torch.randn(shape, generator=generator).to(device, dtype) for shape in shapes]
    weights = torch.randn((rows, length, heads.queries, heads.size), generator=generator)
    return inputs, weights.to(device, dtype).float()


def _results(
    attend: Callable[..., Tensor], inputs: list[Tensor], weights: Tensor
) -> tuple[Tensor, ...]:
    """Return outputs [rows, S, heads, D] and gradients of their weighted sum, in the same order of dimensions."""
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        output = attend(*leaves)
        gradients = torch.autograd.grad(output, leaves, weights.to(output.dtype))
    return output.detach(), *(gradient.transpose(1, 2) for gradient in gradients)


def _error(own: Tensor, expected: Tensor) -> float:
    """Return the largest norm of a token's difference over the root mean square norm of all tokens."""
    assert own.shape == expected.shape, f"{own.shape}, not {expected.shape}"
    norms = (own.float() - expected).flatten(2).norm(dim=-1)
    typical = expected.flatten(2).norm(dim=-1).square().mean().sqrt()
    return float(norms.max() / typical)
