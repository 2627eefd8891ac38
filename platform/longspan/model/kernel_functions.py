"""Fused kernels in place of RoPE, RMSNorm and SwiGLU in a transformers model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from torch import Tensor, nn

from longspan.errors import UserError
from longspan.model.kernels import LIGER, NONE

ROTATE = "apply_rotary_pos_emb"
"""Function of transformers' model files that rotates queries and keys."""

Rotate = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Kernels:
    """One implementation of each part.

    A kernel may overwrite its inputs, and in backward its outputs' gradients: nothing else in the layers reads them.

    Attributes:
        name: in messages.
        rotate: rotates queries [B, H, S, D] and keys [B, K, S, D] by cosines and sines [B or 1, S, D].
        rms_norm: norm of hidden states [..., H], by weight [H] and epsilon.
        swiglu: silu(gate) * up, both [..., I].
    """

    name: str
    rotate: Rotate
    rms_norm: Callable[[Tensor, Tensor, float], Tensor]
    swiglu: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Parts:
    """Modules of a model that kernels compute for."""

    norms: tuple[nn.Module, ...]
    mlps: tuple[nn.Module, ...]
    attentions: tuple[nn.Module, ...]


def load_kernels(name: str) -> Kernels | None:
    """Return kernels by name; None for "none"."""
    assert name in (NONE, LIGER), f"no kernels are called {name}"
    return liger_kernels() if name == LIGER else None


def liger_kernels() -> Kernels:
    """Return the kernels of the package liger-kernel, which has to be installed."""
    from liger_kernel.ops import (  # pyrefly: ignore
        LigerRMSNormFunction,
        LigerRopeFunction,
        LigerSiLUMulFunction,
    )

    def rms_norm(hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        # Not in place: a gradient may be shared with the residual connection. By rows: with many rows of few columns
        # Liger would use another kernel, which is not the one that a few hundred tokens are compared with.
        return LigerRMSNormFunction.apply(hidden, weight, epsilon, 0.0, "llama", False, True)

    return Kernels(LIGER, LigerRopeFunction.apply, rms_norm, LigerSiLUMulFunction.apply)


def parts_of(model: nn.Module) -> Parts:
    """Return the modules of a model of one of the supported families.

    Raises:
        UserError: a decoder layer is not built as those of the families are.
    """
    modules = list(model.modules())
    parts = Parts(
        tuple(module for module in modules if type(module).__name__.endswith("RMSNorm")),
        tuple(module for module in modules if hasattr(module, "gate_proj")),
        tuple(module for module in modules if ROTATE in _global_names(module)),
    )
    layers = model.config.num_hidden_layers  # pyrefly: ignore
    if len(parts.mlps) != layers or len(parts.attentions) != layers or not parts.norms:
        raise UserError(
            f"training.kernels: {type(model).__name__} has {len(parts.mlps)} gated MLPs, {len(parts.attentions)} "
            f"attention layers with RoPE and {len(parts.norms)} RMSNorms in {layers} decoder layers, unlike the "
            "models that kernels were written for; set training.kernels=none"
        )
    return parts


def install(model: nn.Module, kernels: Kernels) -> None:
    """Compute a model's RoPE, RMSNorm and SwiGLU with ``kernels``, in place.

    Modules are still called as modules, and keep their parameters' names. Call it before
    :func:`longspan.model.tiling.tile_mlps`, which divides the tokens that an MLP is given.

    Raises:
        UserError: see `parts_of`.
    """
    parts = parts_of(model)
    changed = [
        each for each in (*parts.norms, *parts.mlps, *parts.attentions) if "forward" in vars(each)
    ]
    assert not changed, f"{type(changed[0]).__name__} has a forward of its own already"
    for norm in parts.norms:
        install_norm(norm, kernels)
    for mlp in parts.mlps:
        install_mlp(mlp, kernels)
    for attention in parts.attentions:
        install_rotation(attention, kernels)


def install_norm(norm: nn.Module, kernels: Kernels) -> None:
    """Compute an RMSNorm with ``kernels``."""
    vars(norm)["forward"] = partial(_norm, norm, kernels.rms_norm)


def install_mlp(mlp: nn.Module, kernels: Kernels) -> None:
    """Compute the product in a gated MLP with ``kernels``."""
    vars(mlp)["forward"] = partial(_mlp, mlp, kernels.swiglu)


def install_rotation(attention: nn.Module, kernels: Kernels) -> None:
    """Rotate queries and keys of an attention layer with ``kernels``.

    The layer calls a global function of its file. It gets a copy of its own forward that finds the kernel by that
    name, so that other models of the process keep theirs.
    """
    forward = type(attention).forward
    names = {**forward.__globals__, ROTATE: partial(_rotate, kernels.rotate)}
    copied = FunctionType(
        forward.__code__, names, forward.__name__, forward.__defaults__, forward.__closure__
    )
    copied.__kwdefaults__ = forward.__kwdefaults__
    vars(attention)["forward"] = MethodType(copied, attention)


def eager_rotation(attention: nn.Module) -> Rotate:
    """Return the function of transformers that an attention layer calls."""
    return getattr(sys.modules[type(attention).__module__], ROTATE)


def _norm(norm: Any, rms_norm: Callable[[Tensor, Tensor, float], Tensor], hidden: Tensor) -> Tensor:
    return rms_norm(hidden, norm.weight, norm.variance_epsilon)


def _mlp(mlp: Any, swiglu: Callable[[Tensor, Tensor], Tensor], hidden: Tensor) -> Tensor:
    return mlp.down_proj(swiglu(mlp.gate_proj(hidden), mlp.up_proj(hidden)))


def _rotate(
    rotate: Rotate, query: Tensor, key: Tensor, cosines: Tensor, sines: Tensor
) -> tuple[Tensor, Tensor]:
    return rotate(query, key, cosines, sines)


def _global_names(module: nn.Module) -> tuple[str, ...]:
    """Return names that the code of a module's forward looks up."""
    code = getattr(type(module).forward, "__code__", None)
    return code.co_names if code else ()
