"""Ulysses: between layers a worker has all heads of some tokens, within attention some heads of all tokens.

DeepSpeed-Ulysses (Jacobs et al., arXiv 2309.14509) by two exchanges around an attention function. DeepSpeed's own
is not used: its registration for transformers drops the mask of packed documents under SDPA, and its process
groups (``mpu``) scale gradients differently by ZeRO stage. Here ZeRO sees plain data parallelism over all workers:
a loss summed over tokens has the same gradients however its tokens are divided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from longspan.parallel.documents import attention_by_document, document_boundaries
from longspan.parallel.headwise import attend_by_head
from longspan.parallel.limits import require_shareable

_LOCAL = ("position_ids", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
"""Arguments that describe a slice of the tokens, which attention over whole rows must not see."""


class Exchange(Protocol):
    """Ranks that share rows; see `SequenceGroup`."""

    @property
    def degree(self) -> int:
        """Number of ranks."""
        ...

    def all_to_all(self, tensor: Tensor) -> Tensor:
        """Exchange the parts of [degree, ...]."""
        ...


@dataclass(frozen=True)
class SharedRows:
    """Rows whose tokens are divided among the ranks of a group, as attention needs to know them.

    Attributes:
        group: the ranks; a single one where rows are not divided.
        boundaries: of the documents in the whole rows, see `document_boundaries`.
        document_lengths: tokens of each document of all rows, one row after another.
        headwise: whether a rank's query heads take turns, see `longspan.parallel.headwise`.
    """

    group: Exchange
    boundaries: dict[str, Any]
    document_lengths: tuple[int, ...]
    headwise: bool = False

    @classmethod
    def from_positions(
        cls, group: Exchange, positions: Tensor, headwise: bool = False
    ) -> SharedRows:
        """Return rows by the positions of all their tokens.

        Args:
            group: the ranks.
            positions: int64 [B, S] of the whole rows; 0 where a document begins.
            headwise: see the attributes.
        """
        boundaries = document_boundaries(positions)
        lengths = tuple(boundaries["cu_seq_lens_q"].diff().tolist())
        return cls(group, boundaries, lengths, headwise)

    @property
    def num_tokens(self) -> int:
        """Tokens of all rows, B * S."""
        return sum(self.document_lengths)


class SharedAttention:
    """An attention function of transformers, over whole rows where it is given `SharedRows`."""

    def __init__(self, function: Callable[..., Any], implementation: str) -> None:
        """Wrap ``function``, which is registered as ``implementation``."""
        self._function = function
        # SDPA would need a mask of length x length for the documents of a row.
        self._is_by_document = implementation == "sdpa"

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *,
        shared_rows: SharedRows | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Call the function as it is, or on this rank's heads of all tokens.

        Args:
            module: the attention layer.
            query: [B, H, s, D], all heads of this rank's tokens.
            key: [B, K, s, D].
            value: [B, K, s, E].
            attention_mask: dropped where rows are shared.
            shared_rows: the whole rows; None: tokens are not divided.
            kwargs: of the function.

        Returns:
            Outputs [B, s, H, E], and the function's second result; None in its place where rows are shared.
        """
        if shared_rows is None:
            return self._function(module, query, key, value, attention_mask, **kwargs)
        if kwargs.get("s_aux") is not None:
            raise ValueError("attention sinks are not divided among workers")
        group = shared_rows.group
        key, value = _replicated(key, group.degree), _replicated(value, group.degree)
        kwargs = {name: each for name, each in kwargs.items() if name not in _LOCAL}
        function, documents = self._over_documents(shared_rows)
        exchange = partial(_heads_of_all_tokens, group)

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            assert query.shape[0] * query.shape[2] == shared_rows.num_tokens, (
                f"{query.shape[0]} rows of {query.shape[2]} tokens, not {shared_rows.num_tokens} tokens"
            )
            with _key_value_groups(module, query.shape[1] // key.shape[1]):
                output, _ = function(module, query, key, value, None, **kwargs, **documents)
            return _tokens_of_all_heads(group, output)

        if shared_rows.headwise:
            return attend_by_head(query, key, value, group.degree, exchange, attend), None
        return attend(exchange(query), exchange(key), exchange(value)), None

    def _over_documents(self, shared_rows: SharedRows) -> tuple[Callable[..., Any], dict[str, Any]]:
        """Return the function to call on whole rows, and how it is told where documents begin."""
        if self._is_by_document:
            return attention_by_document, {"document_lengths": shared_rows.document_lengths}
        return self._function, shared_rows.boundaries


def install(implementation: str) -> None:
    """Let an attention function of transformers take shared rows; it does all else as before.

    It keeps its name, by which FlashAttention's kernels are looked up. Repeated calls change nothing.

    Raises:
        UserError: rows cannot be shared with it.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    require_shareable(implementation)
    function = ALL_ATTENTION_FUNCTIONS[implementation]
    if not isinstance(function, SharedAttention):
        ALL_ATTENTION_FUNCTIONS[implementation] = SharedAttention(function, implementation)


def decoder_arguments(shared_rows: SharedRows, device: torch.device) -> dict[str, Any]:
    """Return arguments for the forward pass of a decoder of transformers on this rank's tokens of shared rows."""
    # A mask of four dimensions is handed on as it is, and none is built for the slice; attention drops it.
    placeholder = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)
    return {"attention_mask": placeholder, "shared_rows": shared_rows}


def _heads_of_all_tokens(group: Exchange, tensor: Tensor) -> Tensor:
    """Divide heads among the ranks and join their tokens: [B, n, m, D] to [B, n / degree, m * degree, D]."""
    if group.degree == 1:
        return tensor
    assert tensor.shape[1] % group.degree == 0, f"{tensor.shape} among {group.degree} workers"
    # Tokens come before heads, as projections have written them: what one row receives needs no other copy.
    parts = tensor.transpose(1, 2).unflatten(2, (group.degree, -1))
    received = group.all_to_all(parts.permute(2, 0, 1, 3, 4).contiguous())
    return received.transpose(0, 1).flatten(1, 2).transpose(1, 2)


def _tokens_of_all_heads(group: Exchange, output: Tensor) -> Tensor:
    """Divide tokens among the ranks and join their heads: [B, m * degree, n, E] to [B, m, n * degree, E]."""
    if group.degree == 1:
        return output
    parts = output.unflatten(1, (group.degree, -1)).transpose(0, 1).contiguous()
    return group.all_to_all(parts).permute(1, 2, 0, 3, 4).flatten(2, 3)


def _replicated(tensor: Tensor, degree: int) -> Tensor:
    """Return keys or values with every head as often as it takes for each rank to get one."""
    heads = tensor.shape[1]
    if heads % degree == 0:
        return tensor
    assert degree % heads == 0, f"{heads} key-value heads among {degree} workers"
    return tensor.repeat_interleave(degree // heads, dim=1)


@contextmanager
def _key_value_groups(module: nn.Module, groups: int) -> Iterator[None]:
    """Set a layer's number of query heads for each key-value head within the block."""
    name = "num_key_value_groups"
    before = getattr(module, name, None)
    if before is None:
        yield
        return
    setattr(module, name, groups)
    try:
        yield
    finally:
        setattr(module, name, before)
