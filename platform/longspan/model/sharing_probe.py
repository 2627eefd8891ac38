"""Whether the rows of an architecture can be divided among workers, tried on a tiny model of it."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from longspan._compat.transformers import unmasked_attention
from longspan.model.loss import CausalLMLoss
from longspan.model.loss_checks import Row
from longspan.parallel.simulated import SimulatedRank, run_ranks
from longspan.parallel.ulysses import SharedAttention, SharedRows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DEGREE = 2
NAME = "longspan_sharing_probe"
EXACT = 1e-5
"""Relative difference of outputs that have nothing to do with another token."""


def sharing_error(model: PreTrainedModel, row: Row) -> float:
    """Return the largest change of a token's loss, in nats, when a row is divided among two ranks.

    Layers that pass information between tokens outside attention change it, and so do arguments of attention that
    are not the same for all heads. It is infinite where the model cannot be run so.

    Args:
        model: a tiny one, in evaluation mode.
        row: of an even number of tokens.
    """
    whole = CausalLMLoss(model, 16).token_losses(row.tokens, row.positions, row.labels)

    def losses(rank: SimulatedRank) -> Tensor:
        cut = rank.slice_of(row.tokens.shape[1])
        # A copy each: attention layers are told of their share of the heads.
        wrapped = CausalLMLoss(copy.deepcopy(model), 16)
        shared = SharedRows.from_positions(rank, row.positions)
        return wrapped.token_losses(
            row.tokens[:, cut], row.positions[:, cut], row.labels[:, cut], shared
        )

    with unmasked_attention(model.config, NAME, SharedAttention(_untold, "sdpa")):
        try:
            divided = torch.cat(run_ranks(DEGREE, losses), dim=1)
        except (
            Exception
        ):  # Architectures fail in ways of their own; none of them can be trained so.
            return math.inf
    return float((divided - whole).abs().max())


@torch.no_grad()
def mixing_layer(model: PreTrainedModel, row: Row) -> str | None:
    """Return the class of the first layer that passes information between tokens outside attention, or None.

    Found with attention that does not: where the state of a later token depends on the first one even so.

    Args:
        model: a tiny one, in evaluation mode.
        row: any.
    """
    other = row.tokens.clone()
    other[:, 0] = (other[:, 0] + 1) % model.config.vocab_size
    with unmasked_attention(model.config, NAME, _unmixed):
        try:
            before, after = (
                _states(model, Row(tokens, row.positions, row.labels))
                for tokens in (row.tokens, other)
            )
        except Exception:  # As above.
            return None
    for (name, first), (_, second) in zip(before, after, strict=True):
        if not torch.allclose(first, second, rtol=EXACT, atol=EXACT):
            return name
    return None


def _states(model: PreTrainedModel, row: Row) -> list[tuple[str, Tensor]]:
    """Return each layer's parts by class, in the order of their calls, with their outputs after the first token."""
    found: list[tuple[str, Tensor]] = []

    def note(module: nn.Module, _: Any, output: Any) -> None:
        state = output[0] if isinstance(output, tuple) else output
        if isinstance(state, Tensor) and state.shape[:2] == row.tokens.shape:
            found.append((type(module).__name__, state[0, 1:]))

    blocks = (block for block in model.modules() if isinstance(block, nn.ModuleList))
    parts = {part for block in blocks for layer in block for part in layer.children()}
    hooks = [part.register_forward_hook(note) for part in parts]
    try:
        CausalLMLoss(model, 16).token_losses(row.tokens, row.positions, row.labels)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _untold(*args: Any, **kwargs: Any) -> Any:
    raise ValueError("attention is not told of shared rows")


def _unmixed(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
) -> tuple[Tensor, None]:
    """Return each token's own value, as attention to itself alone would."""
    values = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)
    return values.transpose(1, 2).contiguous(), None
