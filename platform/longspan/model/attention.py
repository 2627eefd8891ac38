"""Choice of an attention implementation, with the reason.

Documents packed into one row are kept apart by position ids that restart at 0. SDPA and eager attention get them as
a block-diagonal mask, which transformers builds only with no attention mask (not even all ones) and no key-value
cache; either of them silently turns it off. The mask takes length x length bytes. All other implementations are told
where documents begin instead (:mod:`longspan.model.loss`) and need memory in proportion to the length.
"""

from __future__ import annotations

from dataclasses import dataclass

from longspan.errors import UserError

FLASH = ("flash_attention_3", "flash_attention_2")
"""Packages, by transformers' names."""
TORCH_VARLEN = "torch_varlen"
"""Variable-length FlashAttention 2 that is part of torch (`torch.nn.attention.varlen`)."""
SDPA_BY_DOCUMENT = "sdpa_by_document"
"""SDPA called once for each document, on any device."""
OWN = (TORCH_VARLEN, SDPA_BY_DOCUMENT)
"""Implementations that are registered by :mod:`longspan.model.attention_functions`."""
MASKED = ("sdpa", "eager")
"""Implementations that are given a mask."""
IMPLEMENTATIONS = (*FLASH, *OWN, *MASKED)

MAX_MASKED_LENGTH = 8192
"""Tokens of the longest row for which `auto` accepts a mask: 64 MiB as booleans, 256 MiB as fp32 scores to add."""

_PACKAGES = {"flash_attention_3": "flash-attn-3", "flash_attention_2": "flash-attn"}


@dataclass(frozen=True)
class Choice:
    """An attention implementation by its name in transformers' registry, and a reason to print."""

    implementation: str
    reason: str


@dataclass(frozen=True)
class Conditions:
    """Conditions of a run that decide which implementations can be used.

    Attributes:
        device_type: "cuda" or "cpu".
        precision: of the forward pass, "bf16" or "fp32".
        longest_row: tokens of the longest row.
        capability: CUDA compute capability (major, minor) of the device; None on a CPU.
    """

    device_type: str
    precision: str
    longest_row: int
    capability: tuple[int, int] | None = None

    @classmethod
    def of_process(cls, precision: str, longest_row: int) -> Conditions:
        """Return the conditions on this process's device."""
        import torch

        if not torch.cuda.is_available():
            return cls("cpu", precision, longest_row)
        return cls("cuda", precision, longest_row, torch.cuda.get_device_capability())


def choose(requested: str, conditions: Conditions) -> Choice:
    """Return the implementation for ``requested``, "auto" or a name.

    Raises:
        UserError: the name is unknown, or the implementation is not available.
    """
    if requested == "auto":
        return _best(conditions)
    if requested not in IMPLEMENTATIONS:
        raise UserError(
            f"training.attention: {requested!r} is not one of auto, {', '.join(IMPLEMENTATIONS)}"
        )
    if problem := _why_not(requested, conditions):
        raise UserError(
            f"training.attention: {requested} is not available: {problem}; or leave the key out"
        )
    return Choice(requested, "set in the recipe")


def _best(conditions: Conditions) -> Choice:
    """Return the first available implementation, with what rules out those before it."""
    problems: list[str] = []
    for name in (*FLASH, TORCH_VARLEN):
        problem = _why_not(name, conditions)
        if problem is None:
            reason = "memory grows with the row's length, not its square"
            return Choice(name, "; ".join([f"available; {reason}", *problems]))
        if problem not in problems:
            problems.append(problem)
    reason = "; ".join(problems)
    length = conditions.longest_row
    if length > MAX_MASKED_LENGTH:
        return Choice(
            SDPA_BY_DOCUMENT,
            f"{reason}; the document mask of a row of {length:,} tokens would take {length**2 / 2**20:,.0f} MiB "
            f"(SDPA up to {MAX_MASKED_LENGTH:,} tokens)",
        )
    return Choice("sdpa", f"{reason}; rows of up to {MAX_MASKED_LENGTH:,} tokens take a mask")


def _why_not(name: str, conditions: Conditions) -> str | None:
    """Return why an implementation is not available, and what to do; None: it is."""
    if name in (SDPA_BY_DOCUMENT, *MASKED):
        return None
    if conditions.device_type != "cuda":
        return f"FlashAttention needs a CUDA device, and this is {conditions.device_type}"
    if conditions.precision != "bf16":
        return (
            f"FlashAttention computes in bf16, not {conditions.precision}; set "
            "training.precision=bf16"
        )
    major, minor = conditions.capability or (0, 0)
    if major < 8 or (name == "flash_attention_3" and major != 9):
        needed = "9.x (Hopper)" if name == "flash_attention_3" else "8.0 or higher"
        return f"{name} needs a GPU of compute capability {needed}, and this is {major}.{minor}"
    if name in FLASH and not _is_installed(name):
        return f"{name} needs the package {_PACKAGES[name]}; install it"
    if name == TORCH_VARLEN and not _has_varlen():
        return (
            "torch_varlen needs a torch with torch.nn.attention.varlen; install torch 2.13 or later"
        )
    return None


def _is_installed(name: str) -> bool:
    from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

    if name == "flash_attention_3":
        return is_flash_attn_3_available()
    return is_flash_attn_2_available()


def _has_varlen() -> bool:
    from importlib.util import find_spec

    return find_spec("torch.nn.attention.varlen") is not None
