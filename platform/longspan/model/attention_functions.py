"""Attention functions of transformers for packed rows, without a mask: torch kernels told where documents begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from longspan.model.attention import OWN, SDPA_BY_DOCUMENT, TORCH_VARLEN
from longspan.parallel.documents import attention_by_document, document_boundaries

_UNSUPPORTED = ("softcap", "s_aux", "position_bias")
_HEAD_MULTIPLE = 8
"""Head dimensions of torch's FlashAttention are multiples of this."""


def register(implementation: str) -> None:
    """Register an implementation of this module with transformers; any other name is left as it is.

    transformers builds no mask for an implementation that it has no mask function of. Repeated calls change nothing.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if implementation in OWN and implementation not in ALL_ATTENTION_FUNCTIONS:
        ALL_ATTENTION_FUNCTIONS[implementation] = _FUNCTIONS[implementation]


def varlen_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention within documents by `torch.nn.attention.varlen.varlen_attn`; on CUDA in half precision.

    Args:
        module: the attention layer; not used.
        query: [B, H, S, D].
        key: [B, K, S, D]; K divides H.
        value: [B, K, S, E]; E is at most D.
        attention_mask: ignored; the documents take its place.
        dropout: has to be 0.
        scaling: factor of the scores; None is 1 / sqrt(D).
        sliding_window: tokens that each token attends to at most, itself included; None: all before it.
        kwargs: boundaries (`document_boundaries`) or ``position_ids``; others are ignored.

    Returns:
        Outputs [B, S, H, E], and None in place of the attention's weights.

    Raises:
        ValueError: an argument that the kernel does not take, or no documents.
    """
    from torch.nn.attention.varlen import varlen_attn

    if given := [name for name in _UNSUPPORTED if kwargs.get(name) is not None]:
        raise ValueError(f"{TORCH_VARLEN} does not take {', '.join(given)}")
    if dropout:
        raise ValueError(f"{TORCH_VARLEN} has no dropout ({dropout})")
    if kwargs.get("is_causal") is False:
        raise ValueError(f"{TORCH_VARLEN} is causal")
    documents = _boundaries(query, key, kwargs)
    (batch, _, length, head), size = query.shape, value.shape[-1]
    width = -(-max(head, size) // _HEAD_MULTIPLE) * _HEAD_MULTIPLE
    output = varlen_attn(
        _tokens_first(query, width),
        _tokens_first(key, width),
        _tokens_first(value, width),
        documents["cu_seq_lens_q"],
        documents["cu_seq_lens_k"],
        documents["max_length_q"],
        documents["max_length_k"],
        scale=head**-0.5 if scaling is None else scaling,
        window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
        enable_gqa=True,
    )
    assert isinstance(output, Tensor)
    return output[..., :size].unflatten(0, (batch, length)).contiguous(), None


def sdpa_by_document(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention of each document by itself; arguments and results are those of `varlen_attention`.

    Raises:
        ValueError: an argument that `attention_by_document` does not take, or no documents.
    """
    edges = _boundaries(query, key, kwargs)["cu_seq_lens_q"]
    return attention_by_document(
        module,
        query,
        key,
        value,
        attention_mask,
        document_lengths=edges.diff().tolist(),
        **kwargs,
    )


def _boundaries(query: Tensor, key: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return where documents begin: as given, or from the positions.

    Raises:
        ValueError: neither is given, or there are keys of earlier calls.
    """
    if key.shape[2] != query.shape[2]:
        raise ValueError("attention without a mask takes no key-value cache")
    if kwargs.get("cu_seq_lens_q") is not None:
        return kwargs
    positions = kwargs.get("position_ids")
    if positions is None:
        raise ValueError("attention without a mask is not told where documents begin")
    return document_boundaries(positions.expand(query.shape[0], -1))


def _tokens_first(tensor: Tensor, width: int) -> Tensor:
    """Return [B, H, S, D] as [B * S, H, width], with zeros in what is added."""
    tokens = tensor.transpose(1, 2).flatten(0, 1)
    return functional.pad(tokens, (0, width - tokens.shape[-1])).contiguous()


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    TORCH_VARLEN: varlen_attention,
    SDPA_BY_DOCUMENT: sdpa_by_document,
}
