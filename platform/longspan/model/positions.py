"""Settings of rotary positions that a model is built with, and proof that it was built so.

A rotary encoding turns pair j of a head's d dimensions by the angle theta_j * t at position t (Su et al.,
arXiv 2104.09864). Encodings (:mod:`longspan.model.encodings`) differ in theta_j (radians per token) alone, and YaRN
also in the length of queries and keys. This module imports no torch until it is handed a model.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from longspan.errors import UserError
from longspan.extensions.points import POSITION_ENCODINGS
from longspan.model.encodings import PositionEncoding
from longspan.model.rope import (
    ROPE_TYPES,
    rope_attention_scaling,
    rope_frequencies,
    settings_kept,
)

if TYPE_CHECKING:
    from torch import nn

NONE = "none"
"""The model's own positions."""
XPOS = "xpos_abf"
"""Can be planned, not trained: stock attention does not implement it."""

# xPos with the paper's decay fix. The paper prints no values; these reproduce its figure 4 to 3e-5.
XPOS_GAMMA = 0.8
XPOS_SCALE_BASE = 4096.0

# Largest relative error of a float32 frequency: computing a power costs about 1e-6, while frequencies that
# went through bfloat16 are wrong by up to 4e-3, which at 32,768 tokens is twenty full turns.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Positions:
    """A model's position encoding (paper arXiv 2309.16039, section 4.1)."""

    encoding: str
    """Name of the encoding, as in the recipe: built in, an entry point, or `module:Class`."""
    base: float
    """RoPE base b (``rope_theta``): theta_j = b^(-2j/d)."""
    factor: float
    """New window / original window."""
    original_window: int
    """Window of the base model, in tokens."""
    own: tuple[tuple[str, Any], ...] = ()
    """With "none": the model's own scaling (its ``rope_parameters``); empty for plain RoPE."""

    def __post_init__(self) -> None:
        POSITION_ENCODINGS.require_name(self.encoding)
        assert self.base > 1, f"RoPE base {self.base} must be above 1"
        assert self.factor > 0, f"factor {self.factor} must be positive"
        assert not self.own or self.encoding == NONE, f"{self.encoding} replaces {self.own}"


def encoding_class(name: str) -> type[PositionEncoding] | None:
    """Return the class of an encoding; None for `NONE` and `XPOS`, which have none.

    Raises:
        UserError: it cannot be imported, or is not an encoding.
    """
    if name in (NONE, XPOS):
        return None
    return POSITION_ENCODINGS.load(name, "positions.encoding")


def own_positions(rope: Mapping[str, Any], window: int) -> Positions:
    """The encoding a model came with, from its ``rope_parameters`` and window in tokens."""
    plain = rope.get("rope_type", "default") == "default"
    items = ((k, tuple(v) if isinstance(v, list) else v) for k, v in rope.items())
    own = () if plain else tuple(sorted(items))
    return Positions("none", float(rope["rope_theta"]), 1.0, window, own)


def supported(encoding: str) -> bool:
    """Whether stock attention, and so any tool that loads the exported model, can apply it."""
    return encoding != XPOS


def require_supported(positions: Positions) -> None:
    """Refuse an encoding that the exported model could not state.

    Raises:
        UserError: xPos, which needs its own attention.
    """
    if not supported(positions.encoding):
        raise UserError(
            f"positions.encoding: {positions.encoding} cannot be trained here. xPos scales queries "
            "and keys differently by position, while stock attention treats both alike, and other "
            "tools could not load the exported model. Use abf, which the paper found the best, or "
            "pi or yarn"
        )


def rope_parameters(positions: Positions) -> dict[str, Any]:
    """What to set as ``config.rope_parameters`` *before* the model is built.

    transformers 5 ignores ``rope_theta`` given in any other way, without a word.

    Raises:
        UserError: the encoding is not supported by stock attention.
    """
    require_supported(positions)
    base = float(positions.base)
    if positions.encoding == NONE and positions.own:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in positions.own}
    encoding = encoding_class(positions.encoding)
    if encoding is None:
        return {"rope_type": "default", "rope_theta": base}
    return _checked(
        encoding().rope_parameters(base, float(positions.factor), positions.original_window),
        positions.encoding,
    )


def _checked(rope: Any, encoding: str) -> dict[str, Any]:
    """Return what an encoding gives, if a model can be built of it and verified.

    Raises:
        UserError: it is of a type without a formula here, or has no base.
    """
    kind = rope.get("rope_type") if isinstance(rope, Mapping) else None
    if kind not in ROPE_TYPES:
        raise UserError(
            f"positions.encoding: {encoding} gives rope_parameters of type {kind!r}, which cannot be verified; "
            f"types that can: {', '.join(ROPE_TYPES)}"
        )
    if not isinstance(rope.get("rope_theta"), float):
        raise UserError(
            f"positions.encoding: {encoding} gives rope_parameters without a float rope_theta ({dict(rope)}); "
            "transformers would take a default base"
        )
    return dict(rope)


def frequencies(positions: Positions, head_dim: int) -> np.ndarray:
    """theta_j in radians per token, float64 [head_dim / 2]; head_dim counts the rotated dimensions.

    RoPE and ABF b^(-2j/d); PI the same divided by the factor (arXiv 2306.15595); YaRN between
    the two by wavelength (arXiv 2309.00071, section 3.2); xPos ABF as ABF.
    """
    if positions.encoding == XPOS:
        return rope_frequencies({"rope_theta": positions.base}, head_dim)
    return rope_frequencies(rope_parameters(positions), head_dim)


def attention_scaling(positions: Positions) -> float:
    """What queries and keys are each multiplied with: 0.1 ln(factor) + 1 for YaRN, else 1."""
    if positions.encoding == XPOS:
        return 1.0
    return rope_attention_scaling(rope_parameters(positions))


def decay(positions: Positions, head_dim: int, distances: np.ndarray) -> np.ndarray:
    """Score of an all-ones query and key by their distance in tokens, float64 (paper, figure 4).

    score(n) = sum_j 2 cos(theta_j n) / sqrt(d); xPos weighs pair j with zeta_j^(n / 4096), where
    zeta_j = (2j + 0.8 d) / (1.8 d) (arXiv 2212.10554; constants recovered from the figure).
    """
    distance = np.asarray(distances, dtype=np.float64)[..., None]
    terms = 2.0 * np.cos(frequencies(positions, head_dim) * distance)
    if positions.encoding == XPOS:
        pair = np.arange(head_dim // 2)
        zeta = (2 * pair + XPOS_GAMMA * head_dim) / ((1 + XPOS_GAMMA) * head_dim)
        terms = terms * zeta ** (distance / XPOS_SCALE_BASE)
    return attention_scaling(positions) ** 2 * terms.sum(axis=-1) / math.sqrt(head_dim)


def granularity(positions: Positions, head_dim: int) -> float:
    """How far apart neighbouring positions are kept: mean_j sin(theta_j) (paper, appendix B).

    The appendix's C_d as a plain sum would grow with d; its printed limits are those of the mean.
    """
    return float(np.sin(frequencies(positions, head_dim)).mean())


def require_applicable(positions: Positions, rope: Mapping[str, Any], window: int) -> None:
    """Refuse a change that has no agreed meaning for a model with these ``rope_parameters``.

    Raises:
        UserError: none for positions that cannot be verified, an encoding that scales (pi, yarn) on positions that
            are scaled already, or to a window (in tokens) that is not ``factor`` times the original one.
    """
    require_supported(positions)
    if positions.encoding == NONE:
        _require_formula(rope)
    encoding = encoding_class(positions.encoding)
    if encoding is None or not encoding.scales_window:
        return
    kind = rope.get("rope_type", "default")
    if kind != "default":
        raise UserError(
            f"positions.encoding: {positions.encoding} would scale the model's positions, which "
            f"are scaled already ({kind}); use abf, which replaces that scaling, or none, which "
            "keeps it"
        )
    reached = round(positions.factor * positions.original_window)
    if positions.factor < 1 or reached != window:
        raise UserError(
            f"positions.encoding: {positions.encoding} by {positions.factor:g} takes the model's "
            f"window of {positions.original_window:,} tokens to {reached:,}; target_context is "
            f"{window:,}, and must not be below the model's window"
        )


def replaced_scaling(positions: Positions, rope: Mapping[str, Any]) -> str | None:
    """A sentence for the user where ``positions`` drop the model's own scaling, else None."""
    kind = rope.get("rope_type", "default")
    encoding = encoding_class(positions.encoding)
    if encoding is None or encoding.scales_window or kind == "default":
        return None
    factor = f"factor {rope['factor']:g}, " if rope.get("factor") is not None else ""
    return (
        f"positions.encoding: {positions.encoding} replaces the model's own {kind} scaling ({factor}base "
        f"{rope['rope_theta']:g}) by {_in_words(positions)} of base {positions.base:g}; the model has to learn its "
        "positions anew"
    )


def _in_words(positions: Positions) -> str:
    kind = rope_parameters(positions)["rope_type"]
    return "plain RoPE" if kind == "default" else f"RoPE scaled as {kind}"


def _require_formula(rope: Mapping[str, Any]) -> None:
    kind = rope.get("rope_type", "default")
    if kind not in ROPE_TYPES:
        raise UserError(
            f"positions.encoding: none keeps the model's own positions, and those of type {kind} cannot be "
            f"verified (types that can: {', '.join(ROPE_TYPES)}); set positions.encoding=abf, which replaces them"
        )


def verify(model: nn.Module, positions: Positions) -> None:
    """Assert that every rotary module of a *built* model has the frequencies of ``positions``.

    Also worth calling after anything that may cast buffers (a trainer, a change of dtype).

    Raises:
        AssertionError: with the facts: other frequencies, another dtype or attention scaling.
    """
    for name, module in _rotary_modules(model):
        built = module.inv_freq.detach().cpu()
        assert str(built.dtype) == "torch.float32", f"{name}.inv_freq is {built.dtype}, not float32"
        expected = frequencies(positions, 2 * built.numel())
        error = float(np.max(np.abs(built.numpy() / expected - 1.0)))
        assert error < TOLERANCE, (
            f"{name}: frequencies are off by {error:.2g} (relative) from {positions}; built with "
            f"base {_implied_base(built.numpy()):.6g}, rope_parameters "
            f"{module.config.rope_parameters}"
        )
        scaling, wanted = float(module.attention_scaling), attention_scaling(positions)
        same = abs(scaling - wanted) < TOLERANCE
        assert same, f"{name}: attention scaling is {scaling}, not {wanted}"


@contextlib.contextmanager
def using_positions(model: nn.Module, positions: Positions) -> Generator[None]:
    """Give a built model other positions within the block, such as those it came with.

    Its rotary modules are replaced by new ones of transformers, which know every type of positions that
    transformers does, also those whose frequencies change with the length of a row.
    """
    kept = _rotary_modules(model)
    try:
        for name, module in kept:
            model.set_submodule(name, _rotary_like(module, positions))
        if dict(positions.own).get("rope_type", "default") in ROPE_TYPES:
            verify(model, positions)
        yield
    finally:
        for name, module in kept:
            model.set_submodule(name, module)


def _rotary_like(module: Any, positions: Positions) -> Any:
    config = copy.deepcopy(module.config)
    config.max_position_embeddings = positions.original_window
    config.rope_parameters = {
        **settings_kept(config.rope_parameters),
        **rope_parameters(positions),
    }
    return type(module)(config).to(module.inv_freq.device)


def _rotary_modules(model: nn.Module) -> list[tuple[str, Any]]:
    found = [(n, m) for n, m in model.named_modules() if getattr(m, "inv_freq", None) is not None]
    assert found, f"{type(model).__name__} has no rotary position embedding"
    return found


def _implied_base(built: np.ndarray) -> float:
    """The base whose second frequency is the one that was built."""
    return float(built[1] ** -len(built)) if len(built) > 1 else math.nan
