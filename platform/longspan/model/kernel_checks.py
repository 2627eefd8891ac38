"""Comparison of kernels with the model's own modules on a few hundred tokens, forward and backward, before training."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from longspan._compat.deepspeed import full_shape
from longspan.errors import UserError
from longspan.model.attention_checks import Heads
from longspan.model.kernel_functions import (
    Kernels,
    Rotate,
    eager_rotation,
    install_mlp,
    install_norm,
    parts_of,
)

if TYPE_CHECKING:
    from transformers import PretrainedConfig

ROWS, LENGTH = 2, 192
"""Rows and tokens of each row that are compared."""
SMALLEST_SCALE = 1e-3
"""Size of the smallest hidden states that norms are compared on, where the epsilon counts; of the largest, 1."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""Largest norm of a token's difference (of a weight's gradient: of the whole difference) over the norm of what it
should be, by data type. transformers' own modules are within 1e-5 (fp32) and 8e-3 (bf16) of themselves in float32."""


def require_like_eager(
    kernels: Kernels, model: nn.Module, device: torch.device, dtype: torch.dtype
) -> dict[str, float]:
    """Compare kernels with the eager modules of a model, at its sizes, on random hidden states and weights.

    Args:
        kernels: to be compared.
        model: of transformers; its modules' classes and sizes are used, not its weights.
        device: to compute on.
        dtype: of weights and hidden states.

    Returns:
        Relative error of each result by name, see `errors_of`.

    Raises:
        UserError: a kernel fails, or differs from the eager module in float32 by more than `TOLERANCE`.
    """
    try:
        found = errors_of(kernels, model, device, dtype)
    except UserError:
        raise
    except Exception as error:  # Kernels fail in ways of their own.
        raise UserError(
            f"training.kernels: {kernels.name} fails on a few hundred tokens ({type(error).__name__}: {error}); "
            "install a version for this GPU and torch, or set training.kernels=none"
        ) from error
    wrong = {name: error for name, error in found.items() if not error <= TOLERANCE[dtype]}
    if wrong:
        listed = ", ".join(f"{name} by {error:.2g}" for name, error in wrong.items())
        raise UserError(
            f"training.kernels: {kernels.name} differs from transformers' modules ({listed} of its size; at most "
            f"{TOLERANCE[dtype]:g} in {str(dtype).removeprefix('torch.')}); set training.kernels=none, or install "
            "another version"
        )
    return found


def errors_of(
    kernels: Kernels, model: nn.Module, device: torch.device, dtype: torch.dtype
) -> dict[str, float]:
    """Return the largest relative error of each result of the kernels against eager modules in float32.

    Args:
        kernels: to be compared.
        model: of transformers; see `require_like_eager`.
        device: to compute on.
        dtype: of weights and hidden states.

    Returns:
        By name (module, then output or the input of a gradient): the largest norm of a token's difference over the norm
        of what it should be; for gradients of weights that of the whole difference.
    """
    parts, config = parts_of(model), _config(model)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), torch.device(device), torch.enable_grad():
        torch.manual_seed(0)
        found: dict[str, float] = {}
        for width, norm in {_width(norm): norm for norm in parts.norms}.items():
            make = partial(_fresh_norm, norm, width)
            found |= _module_errors(make, partial(install_norm, kernels=kernels), width, dtype)
        make = partial(type(parts.mlps[0]), config)
        install = partial(install_mlp, kernels=kernels)
        found |= _module_errors(make, install, config.hidden_size, dtype)
        eager = eager_rotation(parts.attentions[0])
        found |= _rotation_errors(kernels.rotate, eager, Heads.of_config(config), dtype)
    return found


def _config(model: Any) -> PretrainedConfig:
    return model.config


def _width(norm: nn.Module) -> int:
    weight: Any = norm.weight
    return full_shape(weight)[0]


def _fresh_norm(norm: Any, width: int) -> nn.Module:
    fresh: Any = type(norm)(width, eps=norm.variance_epsilon)
    nn.init.uniform_(fresh.weight, 0.5, 1.5)
    return fresh


def _module_errors(
    make: Callable[[], nn.Module],
    install: Callable[[nn.Module], None],
    width: int,
    dtype: torch.dtype,
) -> dict[str, float]:
    """Return errors of a module that ``make`` returns, with kernels, against another one without, in float32.

    Args:
        make: returns a new module with random weights, on the default device.
        install: gives a module kernels.
        width: of hidden states.
        dtype: of the weights and hidden states of the module with kernels.
    """
    fused = make().to(dtype)
    eager = make()
    eager.load_state_dict(fused.state_dict())  # The same weights, as rounded.
    install(fused)
    scales = torch.logspace(0, math.log10(SMALLEST_SCALE), LENGTH)
    hidden = (torch.randn(ROWS, LENGTH, width) * scales[:, None]).to(dtype)
    upstream = torch.randn(ROWS, LENGTH, width).to(dtype)

    def run(module: nn.Module, kind: torch.dtype) -> tuple[Tensor, ...]:
        # Copies, for kernels that overwrite what they are given.
        leaf = hidden.to(kind, copy=True).requires_grad_()
        output = module(leaf)
        kept = output.detach().clone()
        above = upstream.to(kind, copy=True)
        return kept, *torch.autograd.grad(output, [leaf, *module.parameters()], above)

    own, expected = run(fused, dtype), run(eager, torch.float32)
    weights = [f"gradient of {name}" for name, _ in fused.named_parameters()]
    width_of = f" of {width}" if len(weights) == 1 else ""
    names = ("output", "gradient of input", *weights)
    return {
        f"{type(fused).__name__}{width_of}: {name}": _error(one, other)
        for name, one, other in zip(names, own, expected, strict=True)
    }


def _rotation_errors(
    rotate: Rotate, eager: Rotate, heads: Heads, dtype: torch.dtype
) -> dict[str, float]:
    """Return errors of rotated queries and keys, and of the gradients of those that are rotated."""
    angles = (torch.rand(ROWS, LENGTH, heads.size // 2) * 2 * torch.pi).repeat(1, 1, 2)
    tables = [angles.cos().to(dtype), angles.sin().to(dtype)]
    shapes = [(ROWS, LENGTH, count, heads.size) for count in (heads.queries, heads.keys)]
    inputs = [torch.randn(shape).to(dtype) for shape in shapes]
    upstream = [torch.randn(shape).to(dtype) for shape in shapes]

    def run(function: Rotate, kind: torch.dtype) -> list[Tensor]:
        leaves = [tensor.to(kind, copy=True).requires_grad_() for tensor in inputs]
        # As attention layers give them: views of tensors with the tokens first.
        query, key = (leaf.clone().transpose(1, 2) for leaf in leaves)
        rotated = function(query, key, *(table.to(kind) for table in tables))
        outputs = [output.detach().transpose(1, 2).clone() for output in rotated]
        above = [tensor.to(kind, copy=True).transpose(1, 2) for tensor in upstream]
        return [*outputs, *torch.autograd.grad(rotated, leaves, above)]

    names = ("queries", "keys", "gradient of queries", "gradient of keys")
    own, expected = run(rotate, dtype), run(eager, torch.float32)
    return {
        f"RoPE: {name}": _error(one, other)
        for name, one, other in zip(names, own, expected, strict=True)
    }


def _error(own: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference over that of what is expected: of tokens the largest, of weights as a whole."""
    assert own.shape == expected.shape, f"{own.shape}, not {expected.shape}"
    is_weight = own.dim() < 3
    rows = [
        tensor.flatten() if is_weight else tensor.flatten(2) for tensor in (own.float(), expected)
    ]
    return float(((rows[0] - rows[1]).norm(dim=-1) / rows[1].norm(dim=-1)).max())
