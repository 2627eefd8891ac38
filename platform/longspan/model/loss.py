"""The causal language model's loss, in chunks: the logits of a long row never exist at once.

At 32,768 tokens and 128,000 words the float32 logits of one row would take 16 GiB, and their
gradient as much again. Each chunk of tokens is recomputed in backward instead, and the chunks'
gradients of the output head are added in fp32 (:mod:`longspan.model.loss_chunks`).

DeepSpeed's own TiledFusedLogitsLoss is not used: it runs backward inside forward, so that a scale
put on the loss afterwards (1 / counted tokens) never reaches the output head's gradient, and with
tied embeddings ZeRO would reduce that gradient twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from longspan._compat.transformers import attention_implementation
from longspan.errors import UserError
from longspan.model.loss_chunks import ChunkedHead, is_linear, pieces
from longspan.parallel.documents import document_boundaries
from longspan.parallel.ulysses import SharedRows, decoder_arguments

IGNORED = -100
"""Label of a position that is not counted."""

Head = Callable[[Tensor], Tensor]


def loss_sum(
    hidden: Tensor, lm_head: Head, labels: Tensor, chunk: int, weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy summed over counted tokens, float32 scalar, in nats, for any head.

    The chunks' gradients of the head are added in the head's own type; `ChunkedHead` adds them in fp32.

    Args:
        hidden: last hidden states [B, S, H].
        lm_head: called as a module (ZeRO-3 gathers its weight in its hooks).
        labels: int64 [B, S], the token to predict at each position; -100 is not counted.
        chunk: tokens whose logits exist at one time.
        weights: float32 [B, S], by which each token's loss is multiplied; None is by 1.
    """
    # Chunks that count nothing are computed all the same: under ZeRO-3 every rank has to gather the
    # output head equally often, and which labels count differs by rank.
    columns = _columns(hidden, labels, weights)
    parts = pieces(chunk, *columns)
    if len(parts) == 1:
        return _summed(lm_head, *columns)
    # Non-reentrant checkpoints keep one autograd graph, so that the head's gradient is accumulated,
    # and reduced by ZeRO, once per backward pass and not once per chunk.
    sums = [checkpoint(_summed, lm_head, *part, use_reentrant=False) for part in parts]
    return torch.stack(sums).sum()


@torch.no_grad()
def token_losses(hidden: Tensor, lm_head: Head, labels: Tensor, chunk: int) -> Tensor:
    """Cross-entropy of each position, float32 [B, S], 0 where not counted; no gradients.

    Arguments as for :func:`loss_sum`.
    """
    losses = [
        functional.cross_entropy(lm_head(h).float(), y, ignore_index=IGNORED, reduction="none")
        for h, y, _ in pieces(chunk, *_columns(hidden, labels))
    ]
    return torch.cat(losses).view_as(labels)


class CausalLMLoss(nn.Module):
    """A Hugging Face causal language model whose forward pass is its summed loss.

    Works under DeepSpeed ZeRO 1 to 3, with tied and untied embeddings. Every module is called as a
    module, never its weight by itself.
    """

    def __init__(self, model: Any, chunk: int) -> None:
        """Wrap ``model``; ``chunk`` is the number of tokens whose logits exist at one time.

        Raises:
            UserError: a model without a decoder and an output head that make up its logits.
        """
        super().__init__()
        assert chunk > 0, f"chunk of {chunk} tokens"
        _decoder_of(model)
        head = _head_of(model)
        # The model comes first: it gives the parameters that the chunked head shares their names.
        self.model = model
        self.chunked_head = ChunkedHead(head, _loss_of_logits, chunk) if is_linear(head) else None
        self.chunk = chunk

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        labels: Tensor,
        weights: Tensor | None = None,
        shared_rows: SharedRows | None = None,
    ) -> Tensor:
        """Summed loss over counted tokens, float32 scalar.

        Args:
            tokens: int64 [B, S].
            positions: int64 [B, S]; restarting at 0 where a document begins keeps documents apart.
            labels: int64 [B, S], shifted, -100 where not counted.
            weights: float32 [B, S], by which each token's loss is multiplied; None is by 1.
            shared_rows: the whole rows, where S tokens of each are this rank's; None: rows are not shared.
        """
        hidden = self.hidden_states(tokens, positions, shared_rows)
        if self.chunked_head is None or labels.numel() <= self.chunk:
            return loss_sum(hidden, self.head, labels, self.chunk, weights)
        return self.chunked_head(*_columns(hidden, labels, weights))

    def token_losses(
        self,
        tokens: Tensor,
        positions: Tensor,
        labels: Tensor,
        shared_rows: SharedRows | None = None,
    ) -> Tensor:
        """Loss of each position, float32 [B, S], 0 where not counted; no gradients.

        Dropout is as the module's mode has it: call :meth:`eval` first. Under ZeRO-3 every rank
        has to call it equally often.
        """
        with torch.no_grad():
            hidden = self.hidden_states(tokens, positions, shared_rows)
            return token_losses(hidden, self.head, labels, self.chunk)

    def document_arguments(self, positions: Tensor) -> dict[str, Any]:
        """Return arguments of the model that say where documents begin, besides its positions (int64 [B, S])."""
        by_mask = attention_implementation(self.model.config) in _MASKED
        return {} if by_mask else document_boundaries(positions)

    @property
    def decoder(self) -> nn.Module:
        """The model without its output head."""
        return _decoder_of(self.model)

    @property
    def head(self) -> nn.Module:
        """The output head."""
        return _head_of(self.model)

    def hidden_states(
        self, tokens: Tensor, positions: Tensor, shared_rows: SharedRows | None = None
    ) -> Tensor:
        """Last hidden states [B, S, H]; arguments as for :meth:`forward`."""
        # No attention_mask and no cache: either of them would turn the document mask off.
        if shared_rows is not None:
            documents = decoder_arguments(shared_rows, tokens.device)
        else:
            documents = self.document_arguments(positions)
        output = self.decoder(
            input_ids=tokens, position_ids=positions, use_cache=False, **documents
        )
        return output.last_hidden_state


def _columns(
    hidden: Tensor, labels: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Hidden states [tokens, H], labels and weights [tokens] of all rows, one after another."""
    assert hidden.shape[:2] == labels.shape, f"hidden {hidden.shape}, labels {labels.shape}"
    if weights is None:
        return hidden.flatten(0, 1), labels.flatten(), None
    assert weights.dtype == torch.float32, f"weights of {weights.dtype}"
    return hidden.flatten(0, 1), labels.flatten(), weights.flatten()


def _summed(lm_head: Head, hidden: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    return _loss_of_logits(lm_head(hidden), labels, weights)


def _loss_of_logits(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    logits = logits.float()
    if weights is None:
        return functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    losses = functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")
    return (losses * weights).sum()


# Implementations that transformers builds a mask for, from the positions; all others are told of boundaries.
_MASKED = ("eager", "sdpa", "flex_attention")


def _decoder_of(model: Any) -> nn.Module:
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    if decoder is None or decoder is model:
        decoder = getattr(model, "base_model", None)
    if not isinstance(decoder, nn.Module) or decoder is model:
        raise UserError(
            f"base_model: {type(model).__name__} has no decoder apart from an output head, as a "
            "causal language model has"
        )
    return decoder


def _head_of(model: Any) -> nn.Module:
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if not isinstance(head, nn.Module):
        raise UserError(
            f"base_model: {type(model).__name__} has no output head; it is no language model"
        )
    return head
