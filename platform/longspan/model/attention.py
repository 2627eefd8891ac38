"""Which attention implementation to use, and why.

Documents packed into one row are kept apart by position ids that restart at 0: transformers then
builds the block-diagonal mask itself, but only with no attention mask (not even all ones) and no
key-value cache; either of them silently turns it off. FlashAttention needs no mask in memory: see
:mod:`longspan.model.loss` for what it is given instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from longspan.errors import UserError

FLASH = ("flash_attention_3", "flash_attention_2")
MASKED = ("sdpa", "eager")
"""Implementations that are given a mask."""
IMPLEMENTATIONS = (*FLASH, *MASKED)


@dataclass(frozen=True)
class Choice:
    """An attention implementation by transformers' name, and a reason to print."""

    implementation: str
    reason: str


def choose(requested: str, device_type: str) -> Choice:
    """The implementation for ``requested`` ("auto" or a name) on "cuda" or "cpu".

    Raises:
        UserError: an unknown name, or FlashAttention where it is not installed or there is no GPU.
    """
    if requested == "auto":
        return _best(device_type)
    if requested not in IMPLEMENTATIONS:
        raise UserError(
            f"training.attention: {requested!r} is not one of auto, {', '.join(IMPLEMENTATIONS)}"
        )
    if requested in FLASH:
        problem = _why_not_flash(requested, device_type)
        if problem:
            raise UserError(f"training.attention: {requested} cannot be used here: {problem}")
    return Choice(requested, "set in the recipe")


def _best(device_type: str) -> Choice:
    problems = []
    for name in FLASH:
        problem = _why_not_flash(name, device_type)
        if problem is None:
            return Choice(name, "installed; memory grows with the row's length, not its square")
        problems.append(problem)
    reason = problems[-1]
    if device_type == "cuda":
        reason += "; a document mask takes length x length bytes per row"
    return Choice("sdpa", reason)


def _why_not_flash(name: str, device_type: str) -> str | None:
    if device_type != "cuda":
        return f"FlashAttention needs a CUDA device, and this is {device_type}"
    from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

    available = (
        is_flash_attn_3_available if name == "flash_attention_3" else is_flash_attn_2_available
    )
    if not available():
        package = "flash-attn-3" if name == "flash_attention_3" else "flash-attn"
        return f"the package {package} is not installed"
    return None
