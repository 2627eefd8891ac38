"""Tiled norms: RMSNorm layers of transformers keep their input only, and are recomputed a tile at a time.

transformers computes them with tensor operations, of which autograd keeps the input in float32, the normed value and
its product with the weight, and whose backward pass has several more float32 tensors: together more than attention.
The gradient of the weight is summed over the tiles in float32 and rounded once.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from longspan._compat.deepspeed import full_shape


def tile_norms(model: nn.Module, tile_tokens: int) -> None:
    """Compute the norms of a model in tiles, in place; losses and gradients stay the same.

    They are still called as modules, and keep their parameters' names.

    Args:
        model: a transformers model.
        tile_tokens: largest number of tokens in a tile.
    """
    assert tile_tokens > 0, f"{tile_tokens=}"
    for norm in filter(_is_norm, list(model.modules())):
        vars(norm)["forward"] = partial(_tiled_forward, norm, tile_tokens)


def _is_norm(module: nn.Module) -> bool:
    """Whether a module is a norm of transformers that saves more than its input.

    torch's own norms are single operations, and a ``forward`` of the module's own is a fused kernel.
    """
    parameters = list(module.parameters(recurse=False))
    return (
        "Norm" in type(module).__name__
        and not type(module).__module__.startswith("torch.")
        and "forward" not in vars(module)
        and bool(parameters)
        and all(len(full_shape(each)) == 1 for each in parameters)
        and not any(True for _ in module.children())
        and not any(True for _ in module.buffers(recurse=False))
    )


def _tiled_forward(norm: nn.Module, tile_tokens: int, hidden: Tensor, *others: Any) -> Tensor:
    """Output of a norm for hidden states [B, S, ...], computed over tiles of at most ``tile_tokens`` tokens.

    Norms of ``others`` besides (gates) are computed whole.
    """
    tile = max(1, tile_tokens // hidden.shape[0])
    if others or hidden.dim() < 3 or hidden.shape[1] <= tile:
        return type(norm).forward(norm, hidden, *others)
    names = [name for name, _ in norm.named_parameters(recurse=False)]
    return _TiledNorm.apply(hidden, norm, tile, names, *norm.parameters(recurse=False))


class _TiledNorm(torch.autograd.Function):
    """A norm over tiles of dimension 1; backward computes each tile again."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, *arguments: Any) -> Tensor:
        norm, ctx.tile, ctx.names, *parameters = arguments
        ctx.norm = norm
        ctx.save_for_backward(hidden, *parameters)
        output: Tensor | None = None
        for start in range(0, hidden.shape[1], ctx.tile):
            part = type(norm).forward(norm, hidden[:, start : start + ctx.tile])
            if output is None:
                output = torch.empty_like(hidden, dtype=part.dtype)
            output[:, start : start + ctx.tile] = part
        assert output is not None
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyrefly: ignore
        hidden, *parameters = ctx.saved_tensors
        needed = ctx.needs_input_grad
        # Leaves of their own: hooks on the parameters run once, when the sums arrive there.
        leaves = [
            parameter.detach().requires_grad_(each)
            for parameter, each in zip(parameters, needed[4:], strict=True)
        ]
        norm = copy.copy(ctx.norm)
        norm._parameters = dict(zip(ctx.names, leaves, strict=True))
        trained = [leaf for leaf in leaves if leaf.requires_grad]
        sums = [torch.zeros_like(leaf, dtype=torch.float32) for leaf in trained]
        hidden_gradient = torch.empty_like(hidden)
        for start in range(0, hidden.shape[1], ctx.tile):
            tile = slice(start, start + ctx.tile)
            part = hidden[:, tile].detach().requires_grad_()
            with torch.enable_grad():
                output = type(norm).forward(norm, part)
            gradient, *others = torch.autograd.grad(
                output, [part, *trained], grad_outputs[0][:, tile]
            )
            hidden_gradient[:, tile] = gradient
            for total, other in zip(sums, others, strict=True):
                total += other
        rounded = iter(total.to(leaf.dtype) for total, leaf in zip(sums, trained, strict=True))
        own = [next(rounded) if each else None for each in needed[4:]]
        return (hidden_gradient if needed[0] else None, None, None, None, *own)
