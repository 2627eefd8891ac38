"""Rotary frequencies of ``rope_parameters``, one formula for each ``rope_type``. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from longspan.errors import UserError

ROPE_TYPES = ("default", "linear", "yarn", "llama3")
"""Types whose frequencies do not depend on the length of a row, with a formula here."""

FREQUENCY_KEYS = frozenset(
    {
        "rope_type",
        "type",
        "rope_theta",
        "factor",
        "attention_factor",
        "beta_fast",
        "beta_slow",
        "mscale",
        "mscale_all_dim",
        "truncate",
        "original_max_position_embeddings",
        "max_position_embeddings",
        "short_factor",
        "long_factor",
        "low_freq_factor",
        "high_freq_factor",
    }
)
"""Keys of ``rope_parameters`` that a new position encoding replaces."""

_ARCHITECTURE_KEYS = frozenset({"partial_rotary_factor", "mrope_section"})


def settings_kept(rope: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``rope_parameters`` that are not about frequencies: a new encoding keeps them.

    They are the architecture's (the share of dimensions that is rotated), or settings of one model, such as
    ``llama_4_scaling_beta``. The latter may refer to the original window, which is kept along with them.
    """
    kept = {key: value for key, value in rope.items() if key not in FREQUENCY_KEYS}
    window = rope.get("original_max_position_embeddings")
    if window is not None and kept.keys() - _ARCHITECTURE_KEYS:
        kept["original_max_position_embeddings"] = window
    return kept


def rope_frequencies(rope: Mapping[str, Any], dim: int) -> np.ndarray:
    """theta_j in radians per token, float64 [dim / 2], of ``dim`` rotated dimensions.

    Raises:
        UserError: a ``rope_type`` whose frequencies are not known here.
    """
    plain = float(rope["rope_theta"]) ** (-2.0 * np.arange(dim // 2) / dim)
    kind = _kind(rope)
    if kind == "linear":
        return plain / float(rope["factor"])
    if kind == "yarn":
        return _yarn(plain, rope, dim)
    if kind == "llama3":
        return _llama3(plain, rope)
    return plain


def rope_attention_scaling(rope: Mapping[str, Any]) -> float:
    """What queries and keys are each multiplied with: 1, but for YaRN (arXiv 2309.00071)."""
    if _kind(rope) != "yarn":
        return 1.0
    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])
    factor, mscale, all_dim = (rope.get(k) for k in ("factor", "mscale", "mscale_all_dim"))
    assert factor is not None, f"yarn without a factor: {dict(rope)}"
    if mscale and all_dim:
        return _temperature(factor, mscale) / _temperature(factor, all_dim)
    return _temperature(factor, 1.0)


def _kind(rope: Mapping[str, Any]) -> str:
    kind = rope.get("rope_type", "default")
    if kind not in ROPE_TYPES:
        raise UserError(
            f"positions: the model's own rope_type {kind!r} is not supported; "
            f"supported are {', '.join(ROPE_TYPES)}"
        )
    return kind


def _temperature(factor: float, weight: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def _yarn(plain: np.ndarray, rope: Mapping[str, Any], dim: int) -> np.ndarray:
    """Slow pairs are interpolated, fast ones kept, with a ramp over the pairs between.

    The ramp's ends are the pairs that turn beta_fast and beta_slow times within the original
    window, in whole pairs unless ``truncate`` is off (as in the authors' code).
    """
    window, base = float(rope["original_max_position_embeddings"]), float(rope["rope_theta"])

    def pair_turning(times: float) -> float:
        return dim * math.log(window / (2 * math.pi * times)) / (2 * math.log(base))

    first = pair_turning(rope.get("beta_fast") or 32.0)
    last = pair_turning(rope.get("beta_slow") or 1.0)
    if rope.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, dim - 1)
    span = last - first or 0.001
    interpolated = np.clip((np.arange(dim // 2) - first) / span, 0.0, 1.0)
    return plain * (1.0 - interpolated) + plain / float(rope["factor"]) * interpolated


def _llama3(plain: np.ndarray, rope: Mapping[str, Any]) -> np.ndarray:
    """Llama 3.1's scaling: a ramp over the turns that a pair makes within the original window."""
    turns = plain * float(rope["original_max_position_embeddings"]) / (2 * math.pi)
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return plain * kept + plain / float(rope["factor"]) * (1.0 - kept)
