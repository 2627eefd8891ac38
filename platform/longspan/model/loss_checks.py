"""Comparisons of a model's losses on a few tokens with what they should be."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from longspan._compat.transformers import attention_implementation
from longspan.errors import UserError
from longspan.model.loss import CausalLMLoss
from longspan.parallel.groups import SequenceGroup
from longspan.parallel.ulysses import SharedRows

FIRST, SECOND = 19, 29
"""Tokens of the two documents of a row."""
TOLERANCE = 1e-3
"""Nats by which a token's loss in float32 may differ from what it should be."""
LOW_PRECISION_LOSS = 0.1
LOW_PRECISION_LEAK = 0.25
"""Nats, in bfloat16: logits of 16 and more come in steps of an eighth, and kernels sum in different orders."""


def require_correct(
    model: CausalLMLoss, document_mask: bool, device: torch.device | str, dtype: torch.dtype
) -> None:
    """Compare a model's losses on a few tokens with its own, and those of two documents of one row.

    Args:
        model: the whole one, in evaluation mode.
        document_mask: whether documents are to be kept apart.
        device: of the model.
        dtype: of its parameters.

    Raises:
        UserError: the chunked loss is not the model's own, or a document sees another one.
    """
    name = type(model.model).__name__
    exact = dtype == torch.float32
    error = loss_error(model, document(FIRST, model.model.config.vocab_size, 1, device))
    if not error < (TOLERANCE if exact else LOW_PRECISION_LOSS):
        raise UserError(
            f"base_model: the loss of {name} from its decoder and output head is {error:.2g} nats off the loss of "
            "its own logits; use an architecture of docs/models.md"
        )
    change = leak(model, True, device) if document_mask else 0.0
    if not change < (TOLERANCE if exact else LOW_PRECISION_LEAK):
        raise UserError(
            f"packing.document_mask: a document's loss in {name} changes by {change:.2g} nats with the document "
            f"before it in its row (attention: {attention_implementation(model.model.config)}); set "
            "packing.document_mask=false, or use an architecture of docs/models.md"
        )


@torch.no_grad()
def require_shared_alike(
    model: CausalLMLoss,
    group: SequenceGroup,
    document_mask: bool,
    device: torch.device,
    headwise: bool,
) -> None:
    """Compare losses of a row of two documents, divided among the ranks of a group, with those of the whole row.

    All ranks call it.

    Args:
        model: the whole one, in evaluation mode; its attention function takes shared rows.
        group: this rank's.
        document_mask: whether documents are to be kept apart.
        device: of the model.
        headwise: whether query heads take turns; rows may be of a single rank then.

    Raises:
        UserError: they differ, on any rank.
    """
    vocabulary = model.model.config.vocab_size
    length = -(-(FIRST + SECOND) // group.degree) * group.degree
    second = document(length - FIRST, vocabulary, 2, device)
    row = second.behind(document(FIRST, vocabulary, 1, device), document_mask)
    cut = group.slice_of(length)
    divided = model.token_losses(
        row.tokens[:, cut],
        row.positions[:, cut],
        row.labels[:, cut],
        SharedRows.from_positions(group, row.positions, headwise),
    )
    whole = model.token_losses(row.tokens, row.positions, row.labels)
    change = (divided - whole[:, cut]).abs().max().double()
    dist.all_reduce(change, dist.ReduceOp.MAX)
    exact = next(model.parameters()).dtype == torch.float32
    if not change.item() < (TOLERANCE if exact else LOW_PRECISION_LEAK):
        if group.degree == 1:
            raise UserError(
                f"training.headwise_attention: a token's loss in {type(model.model).__name__} changes by "
                f"{change.item():.2g} nats when heads take turns (attention: "
                f"{attention_implementation(model.model.config)}); set training.headwise_attention=false"
            )
        raise UserError(
            f"workers.sequence_parallel: a token's loss in {type(model.model).__name__} changes by "
            f"{change.item():.2g} nats when its row is divided among {group.degree} workers (attention: "
            f"{attention_implementation(model.model.config)}); set workers.sequence_parallel=1, or use an "
            "architecture of docs/models.md"
        )


@torch.no_grad()
def loss_error(model: CausalLMLoss, row: Row) -> float:
    """Mean difference over a row's tokens between the chunked loss and that of the model's own logits."""
    chunked = model.token_losses(row.tokens, row.positions, row.labels)
    output = model.model(
        input_ids=row.tokens,
        position_ids=row.positions,
        use_cache=False,
        **model.document_arguments(row.positions),
    )
    own = functional.cross_entropy(
        output.logits.float().flatten(0, 1), row.labels.flatten(), reduction="none"
    )
    return float((chunked.flatten() - own).abs().mean())


@dataclass(frozen=True)
class Row:
    """Token ids, positions and labels, int64 [1, tokens] each."""

    tokens: Tensor
    positions: Tensor
    labels: Tensor

    def behind(self, other: Row, apart: bool) -> Row:
        """Return a row of another document and then this one, kept ``apart`` or not."""
        positions = torch.cat([other.positions, self.positions], dim=1)
        if not apart:
            positions = torch.arange(positions.numel(), device=positions.device)[None]
        return Row(
            torch.cat([other.tokens, self.tokens], dim=1),
            positions,
            torch.cat([other.labels, self.labels], dim=1),
        )


def document(num_tokens: int, vocabulary: int, first: int, device: torch.device | str) -> Row:
    """Return a document of tokens that look random and are the same every time; ``first`` tells several apart."""
    ids = (torch.arange(num_tokens + 1, device=device) * 7919 + 104_729 * first) % vocabulary
    positions = torch.arange(num_tokens, device=device)
    return Row(ids[None, :-1], positions[None], ids[None, 1:])


@torch.no_grad()
def leak(model: CausalLMLoss, apart: bool, device: torch.device | str) -> float:
    """Largest change of a document's token losses when the document before it in its row is another one.

    Args:
        model: wrapped, in evaluation mode.
        apart: whether positions restart at the second document.
        device: of the model.
    """
    vocabulary = model.model.config.vocab_size
    second = document(SECOND, vocabulary, 2, device)
    rows = (second.behind(document(FIRST, vocabulary, n, device), apart) for n in (1, 3))
    losses = [model.token_losses(row.tokens, row.positions, row.labels)[:, FIRST:] for row in rows]
    return float((losses[0] - losses[1]).abs().max())
