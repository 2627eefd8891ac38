"""Tiled MLP: each decoder layer's MLP is computed over pieces of the sequence.

An MLP works on each token by itself, so its intermediate tensors (4 x intermediate size per token in a gated one)
need to exist for one tile at a time. Each tile is recomputed in backward. Source: ALST (arXiv 2506.13996), whose
rule is ceil(tokens / hidden size) tiles.

DeepSpeed's TiledMLP runs backward inside backward and tells ZeRO by a private flag when a gradient is complete.
Non-reentrant checkpoints keep one autograd graph, so that ZeRO reduces each weight's gradient once.

Autograd adds the tiles' weight gradients in the weights' own precision: in bfloat16 the sum over 128 tiles has a
relative error of 1.4e-2, four times that of the untiled gradient. Here they are added in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from longspan.errors import UserError

MLP_NAMES = ("mlp", "feed_forward")
"""Attributes of a decoder layer in transformers that hold its MLP."""


def tile_mlps(model: nn.Module, tile_tokens: int) -> None:
    """Compute the MLP of every decoder layer in tiles, in place; losses and gradients stay the same.

    All ranks need micro-batches of equally many tokens: under ZeRO-3 each tile may gather weights.

    Args:
        model: a transformers model; its MLPs are still called as modules, and keep their parameters' names.
        tile_tokens: largest number of tokens in a tile; tiles are of nearly equal size.

    Raises:
        UserError: an MLP that cannot be tiled, by the name of its class.
    """
    assert tile_tokens > 0, f"{tile_tokens=}"
    problem = why_not_tiled(model)
    if problem:
        raise UserError(f"training.tiled_mlp: {problem}; set training.tiled_mlp=false")
    for (mlp,) in map(_mlps_of, _layers(model)):
        vars(mlp)["forward"] = partial(_tiled_forward, mlp, mlp.forward, tile_tokens)


def why_not_tiled(model: nn.Module) -> str | None:
    """Reason why the MLPs of a transformers model cannot be tiled, or None.

    It looks at the modules only; :func:`longspan.model.probe.probe` also compares losses.
    """
    layers = _layers(model)
    if not layers:
        return f"{type(model).__name__} has no decoder layers that transformers can checkpoint"
    for layer in layers:
        found = _mlps_of(layer)
        if len(found) != 1:
            return f"{type(layer).__name__} has no MLP by the name of {' or '.join(MLP_NAMES)}"
        problem = _why_not_per_token(found[0])
        if problem:
            return problem
    return None


def _why_not_per_token(mlp: nn.Module) -> str | None:
    for module in mlp.modules():
        name = type(module).__name__
        if isinstance(module, nn.Dropout) and module.p:
            return f"{type(mlp).__name__} has dropout, whose random numbers depend on the tiles"
        owns_parameters = next(module.parameters(recurse=False), None) is not None
        if owns_parameters and type(module) is not nn.Linear:
            return f"{type(mlp).__name__} has weights in {name}; only linear layers can be tiled"
    return None


def _layers(model: nn.Module) -> list[nn.Module]:
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def _mlps_of(layer: nn.Module) -> list[nn.Module]:
    return [module for name, module in layer.named_children() if name in MLP_NAMES]


def _tiled_forward(
    mlp: nn.Module, forward: Callable[[Tensor], Tensor], tile_tokens: int, hidden: Tensor
) -> Tensor:
    """Output of ``forward`` for hidden states [B, S, H], computed over tiles of at most ``tile_tokens`` tokens."""
    num_tiles = -(-hidden.shape[:-1].numel() // tile_tokens)
    if num_tiles == 1:
        return forward(hidden)
    tokens = hidden.reshape(1, -1, hidden.shape[-1])
    sizes = [tile.shape[1] for tile in tokens.detach().tensor_split(num_tiles, dim=1)]
    # One node of the graph: the gradient of each of several slices would be as large as that of all tokens.
    tiles = tokens.split_with_sizes(sizes, dim=1)
    if not torch.is_grad_enabled():
        output = torch.cat([forward(tile) for tile in tiles], dim=1)
    else:
        run = forward
        if hidden.dtype != torch.float32:
            run = partial(_forward_summing, forward, _weight_gradients(mlp, num_tiles))
        output = torch.cat([checkpoint(run, tile, use_reentrant=False) for tile in tiles], dim=1)
    assert output.shape[1] == hidden.shape[:-1].numel(), f"{type(mlp).__name__}: {output.shape}"
    return output.view(*hidden.shape[:-1], -1)


@dataclass
class _WeightGradient:
    """Gradients of one linear layer's weight and bias, added over the tiles in float32."""

    linear: nn.Linear
    num_tiles_left: int
    weight: Tensor | None = None
    bias: Tensor | None = None
    num_calls: int = 0

    def add(self, gradient: Tensor, inputs: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Add a tile's part; returns the rounded sums with the last one and None before.

        Args:
            gradient: of the output, [tokens, out].
            inputs: [tokens, in].
        """
        assert self.num_tiles_left > 0, "a tile's gradient was added twice"
        self.num_tiles_left -= 1
        self.weight = _added(self.weight, _float32_product(gradient.T, inputs))
        if self.linear.bias is not None:
            self.bias = _added(self.bias, gradient.sum(dim=0, dtype=torch.float32))
        if self.num_tiles_left:
            return None, None
        bias = None if self.bias is None else self.bias.to(gradient.dtype)
        weight = self.weight.to(gradient.dtype)
        self.weight = self.bias = None
        return weight, bias


def _weight_gradients(mlp: nn.Module, num_tiles: int) -> list[_WeightGradient]:
    linears = [module for module in mlp.modules() if isinstance(module, nn.Linear)]
    return [_WeightGradient(linear, num_tiles) for linear in linears]


def _forward_summing(
    forward: Callable[[Tensor], Tensor], sums: Sequence[_WeightGradient], tile: Tensor
) -> Tensor:
    """Output of ``forward`` for one tile, with the gradients of its linear layers added in ``sums``."""
    before = [each.num_calls for each in sums]
    with _linears_that_sum(sums):
        output = forward(tile)
    for each, calls in zip(sums, before, strict=True):
        # The sum is complete when every tile has added to it once.
        assert each.num_calls == calls + 1, f"a linear layer ran {each.num_calls - calls} times"
    return output


@contextmanager
def _linears_that_sum(sums: Sequence[_WeightGradient]) -> Iterator[None]:
    """Linear layers compute their weights' gradients with :class:`_SummedLinear` within the block.

    They are called as modules all the same: ZeRO-3 gathers their weights in its hooks.
    """
    for each in sums:
        vars(each.linear)["forward"] = partial(_summed_linear, each)
    try:
        yield
    finally:
        for each in sums:
            del vars(each.linear)["forward"]


def _summed_linear(total: _WeightGradient, inputs: Tensor) -> Tensor:
    total.num_calls += 1
    return _SummedLinear.apply(inputs, total.linear.weight, total.linear.bias, total)


class _SummedLinear(torch.autograd.Function):
    """A linear layer over one of several tiles.

    The last tile in backward returns the gradient of the weight over all tiles, the others return None. Autograd
    accumulates it right then, while ZeRO-3 has the weight gathered, and ZeRO reduces it once.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, total: _WeightGradient
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.total = total
        return functional.linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        inputs, weight = ctx.saved_tensors
        weight_gradient, bias_gradient = ctx.total.add(
            gradient.flatten(0, -2), inputs.flatten(0, -2)
        )
        return gradient @ weight, weight_gradient, bias_gradient, None


def _float32_product(left: Tensor, right: Tensor) -> Tensor:
    """Matrix product of two low-precision matrices, not rounded from float32."""
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


def _added(total: Tensor | None, part: Tensor) -> Tensor:
    return part if total is None else total.add_(part)
