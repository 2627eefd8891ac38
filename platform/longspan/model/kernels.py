"""Choice of fused kernels for RoPE, RMSNorm and SwiGLU, with the reason.

Liger Kernel's fused loss is not among them: it reads the output head's weight directly, which is empty under
ZeRO-3. The loss here is computed in chunks (:mod:`longspan.model.loss`).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from longspan.errors import UserError
from longspan.model.facts import EXACT_FAMILIES

if TYPE_CHECKING:
    from transformers import PretrainedConfig

NONE = "none"
LIGER = "liger"
FAMILIES = EXACT_FAMILIES
"""Model types whose decoder layers are known to compute what the kernels compute."""
ACTIVATIONS = ("silu", "swish")
"""Activation functions of the MLP that SwiGLU kernels compute."""


@dataclass(frozen=True)
class KernelChoice:
    """Kernels by name, "liger" or "none", and a reason to print."""

    name: str
    reason: str


@dataclass(frozen=True)
class KernelConditions:
    """Conditions of a run that decide whether kernels can be used.

    Attributes:
        model_type: of the model's config.
        activation: name of the activation function in its MLPs.
        device_type: "cuda" or "cpu".
    """

    model_type: str
    activation: str
    device_type: str

    @classmethod
    def of_process(cls, config: PretrainedConfig) -> KernelConditions:
        """Return the conditions for a model of this config on this process's device."""
        import torch

        device_type = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(config.model_type, getattr(config, "hidden_act", "none"), device_type)


def choose_kernels(requested: str, conditions: KernelConditions) -> KernelChoice:
    """Return the kernels for ``requested``, "auto" or a name.

    Raises:
        UserError: the kernels are asked for and not available.
    """
    if requested == NONE:
        return KernelChoice(NONE, "set in the recipe")
    problem = _why_not(conditions)
    if requested == LIGER and problem:
        raise UserError(
            f"training.kernels: liger is not available: {problem}; or leave the key out"
        )
    if problem:
        return KernelChoice(NONE, problem)
    return KernelChoice(LIGER, "set in the recipe" if requested == LIGER else "available")


def plan_kernels(requested: str, model_type: str) -> KernelChoice:
    """Return what a plan states: "auto" is settled when the run starts, on the devices of the workers.

    Raises:
        UserError: the kernels are asked for and are not for models of this type.
    """
    problem = _why_not_for(model_type)
    if requested == LIGER and problem:
        raise UserError(f"training.kernels: {problem}; set training.kernels=none")
    if requested != "auto":
        return KernelChoice(requested, "set in the recipe")
    if problem:
        return KernelChoice(NONE, problem)
    return KernelChoice(
        requested,
        "Liger Kernel's RoPE, RMSNorm and SwiGLU if the package is installed and the device is a GPU; printed when "
        "the run starts",
    )


def require_gpu(planned: str, device_type: str) -> None:
    """Refuse kernels that were asked for on a device that cannot run them.

    Raises:
        UserError: ``planned`` is "liger", and the device is no GPU.
    """
    if planned == LIGER and device_type != "cuda":
        raise UserError(
            f"training.kernels: Liger Kernel needs a GPU, and this is {device_type}; leave the key out"
        )


def _why_not(conditions: KernelConditions) -> str | None:
    """Return why the kernels are not available, and what to do; None: they are."""
    if problem := _why_not_for(conditions.model_type):
        return problem
    if conditions.activation not in ACTIVATIONS:
        return f"Liger Kernel computes SiLU, and the model's MLPs have {conditions.activation}"
    if conditions.device_type != "cuda":
        return f"Liger Kernel needs a GPU, and this is {conditions.device_type}"
    if not _is_installed():
        return "Liger Kernel needs the package liger-kernel; install it"
    return None


def _why_not_for(model_type: str) -> str | None:
    if model_type in FAMILIES:
        return None
    return f"Liger Kernel is used in models of type {', '.join(FAMILIES)}, not {model_type}"


def _is_installed() -> bool:
    return find_spec("liger_kernel") is not None
