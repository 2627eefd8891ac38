"""The output head's loss in chunks of tokens, with one gradient of its weight that is summed in fp32.

Autograd adds the gradients that chunks have for one weight in the weight's own type: in bf16 the sum of
8 chunks is off by a relative error of 4.2e-3, of 128 by 1.4e-2 (one chunk: 2.1e-3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

Loss = Callable[..., Tensor]
"""(logits [tokens, V], labels [tokens], weights [tokens] or None) -> scalar."""


def is_linear(head: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether a head's logits are those of a linear layer: `ChunkedHead` computes them itself."""
    return isinstance(head, nn.Linear) and type(head).forward is nn.Linear.forward


class ChunkedHead(nn.Module):
    """Summed loss of a linear output head; the logits of one chunk of tokens exist at one time.

    It has the head's parameters, as tied embeddings have one another's. So it is a module to ZeRO-3, whose
    hooks gather the weight once for all chunks, before forward and before backward.
    """

    def __init__(self, head: nn.Linear, loss: Loss, chunk: int) -> None:
        """Share the parameters of ``head``.

        Args:
            head: output head, weight [V, H].
            loss: sum of the losses of some tokens.
            chunk: tokens whose logits exist at one time.
        """
        super().__init__()
        self.weight = head.weight
        self.register_parameter("bias", head.bias)
        self._loss, self._chunk = loss, chunk

    def forward(self, hidden: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Sum of the losses, float32 scalar.

        Args:
            hidden: last hidden states [tokens, H].
            labels: int64 [tokens].
            weights: float32 [tokens], by which each token's loss is multiplied; None is by 1.
        """
        arguments = (self.weight, self.bias, labels, weights, self._loss, self._chunk)
        return _ChunkedSum.apply(hidden, *arguments)


class _ChunkedSum(torch.autograd.Function):
    """Sum of the chunks' losses; backward computes each chunk again and adds its gradients in fp32."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, *arguments: Any) -> Tensor:
        weight, bias, labels, weights, ctx.loss, ctx.chunk = arguments
        ctx.save_for_backward(hidden, weight, bias, labels, weights)
        sums = [
            ctx.loss(functional.linear(part, weight, bias), *rest)
            for part, *rest in pieces(ctx.chunk, hidden, labels, weights)
        ]
        return torch.stack(sums).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyrefly: ignore
        hidden, weight, bias, labels, weights = ctx.saved_tensors
        # Leaves of their own: hooks on the parameters run once, when the sums arrive there.
        leaves: list[Any] = [
            parameter if parameter is None else parameter.detach().requires_grad_(needed)
            for parameter, needed in zip((weight, bias), ctx.needs_input_grad[1:3], strict=True)
        ]
        trained = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
        sums = [torch.zeros_like(leaf, dtype=torch.float32) for leaf in trained]
        hidden_gradient = torch.empty_like(hidden)
        parts = pieces(ctx.chunk, hidden, labels, weights, hidden_gradient)
        # The last one first, as autograd does: then the sums of an fp32 model are the same to the bit.
        for part, own_labels, own_weights, place in reversed(parts):
            part = part.detach().requires_grad_()
            with torch.enable_grad():
                loss = ctx.loss(functional.linear(part, *leaves), own_labels, own_weights)
            gradient, *others = torch.autograd.grad(loss, [part, *trained], grad_outputs)
            place.copy_(gradient)
            for total, other in zip(sums, others, strict=True):
                total += other
        rounded = iter(total.to(leaf.dtype) for total, leaf in zip(sums, trained, strict=True))
        own = [next(rounded) if needed else None for needed in ctx.needs_input_grad[1:3]]
        return (hidden_gradient, *own, None, None, None, None)


def pieces(chunk: int, hidden: Tensor, *columns: Tensor | None) -> list[tuple[Any, ...]]:
    """Views of ``chunk`` tokens at a time of ``hidden`` [tokens, H] and of each column; None stays None."""
    parts = hidden.split(chunk)
    split = [[None] * len(parts) if column is None else column.split(chunk) for column in columns]
    return list(zip(parts, *split, strict=True))
