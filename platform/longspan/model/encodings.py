"""Position encodings: how `rope_parameters` take a model with rotary positions to a longer window.

The class of an encoding is the only thing that is specific to it: settings, verification after the model is built, the
export and messages follow from it. No torch and no numpy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal


class PositionEncoding(ABC):
    """A way to set a model's rotary frequencies for a longer window.

    An encoding has no state and no options: its name is part of a run's identity, and has to say everything.
    """

    base: ClassVar[Literal["own", "own_or_recipe", "window_or_recipe"]] = "own_or_recipe"
    """The RoPE base: the model's own always ("own"); `positions.base`, else the model's own ("own_or_recipe"), or
    else a published value for the window ("window_or_recipe")."""
    scales_window: ClassVar[bool] = False
    """Whether positions are scaled by `factor`, so that the model must have plain RoPE, and the window must be
    `factor` times the original one. Otherwise the encoding replaces the model's own scaling."""

    @abstractmethod
    def rope_parameters(
        self, base: float, factor: float, original_window: int
    ) -> Mapping[str, Any]:
        """Return `config.rope_parameters` of the extended model.

        Args:
            base: RoPE base b (`rope_theta`): pair j of d dimensions turns by b^(-2j/d) radians per token.
            factor: new window / original window.
            original_window: window of the base model, in tokens.

        Returns:
            JSON values; `rope_type` is one of `longspan.model.rope.ROPE_TYPES`, whose frequencies can be verified.
        """


class PositionInterpolation(PositionEncoding):
    """Positions divided by the factor (arXiv 2306.15595)."""

    base = "own"
    scales_window = True

    def rope_parameters(
        self, base: float, factor: float, original_window: int
    ) -> Mapping[str, Any]:
        """See `PositionEncoding.rope_parameters`."""
        return {"rope_type": "linear", "rope_theta": base, "factor": factor}


class AdjustedBaseFrequency(PositionEncoding):
    """Plain RoPE of a higher base (arXiv 2309.16039, section 4.1)."""

    base = "window_or_recipe"

    def rope_parameters(
        self, base: float, factor: float, original_window: int
    ) -> Mapping[str, Any]:
        """See `PositionEncoding.rope_parameters`."""
        return {"rope_type": "default", "rope_theta": base}


class Yarn(PositionEncoding):
    """Frequencies scaled by wavelength (arXiv 2309.00071)."""

    scales_window = True

    def rope_parameters(
        self, base: float, factor: float, original_window: int
    ) -> Mapping[str, Any]:
        """See `PositionEncoding.rope_parameters`."""
        return {
            "rope_type": "yarn",
            "rope_theta": base,
            "factor": factor,
            "original_max_position_embeddings": original_window,
        }
