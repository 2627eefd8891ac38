"""Kernels in plain torch that behave like Liger Kernel's: they overwrite what they are given."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from longspan.model.kernel_functions import Kernels


def _rotated(tensor: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    first, second = tensor.chunk(2, dim=-1)
    return tensor * cosines[:, None] + torch.cat([-second, first], dim=-1) * sines[:, None]


class Rotation(torch.autograd.Function):
    """RoPE that writes into queries and keys, and in backward into their gradients, unknown to autograd."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, cosines: Tensor, sines: Tensor) -> Any:
        ctx.save_for_backward(cosines, sines)
        for tensor in (query, key):
            tensor.data.copy_(_rotated(tensor.data.clone(), cosines, sines))
        return query.detach(), key.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        cosines, sines = ctx.saved_tensors
        for gradient in gradients:
            gradient.data.copy_(_rotated(gradient.data.clone(), cosines, -sines))
        return *gradients, None, None


class SwiGlu(torch.autograd.Function):
    """silu(gate) * up, whose backward writes the gradients into what forward has saved."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate) * up

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        (gradient,) = gradients
        with torch.enable_grad():
            leaves = [tensor.detach().clone().requires_grad_() for tensor in (gate, up)]
            found = torch.autograd.grad(functional.silu(leaves[0]) * leaves[1], leaves, gradient)
        gradient.data.fill_(torch.nan)
        for saved, each in zip((gate, up), found, strict=True):
            saved.data.copy_(each)
        return gate, up


def rms_norm(hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    exact = hidden.float()
    scale = torch.rsqrt(exact.square().mean(dim=-1, keepdim=True) + epsilon)
    return weight * (exact * scale).to(hidden.dtype)


OVERWRITING = Kernels("overwriting", Rotation.apply, rms_norm, SwiGlu.apply)
