"""Tokens that a tokenizer puts before a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longspan.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def row_prefix(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return the token ids that a tokenizer puts before a text of its own accord, such as a BOS token.

    Raises:
        UserError: it encodes a text together with the tokens around it.
    """
    plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    whole = list(tokenizer("a")["input_ids"])
    for start in range(len(whole)):
        if whole[start : start + len(plain)] == plain:
            return tuple(whole[:start])
    raise UserError(
        f"model: the tokenizer of {tokenizer.name_or_path!r} encodes a text together with the tokens around it "
        f"({whole}) differently from the text alone ({plain}); use a tokenizer that adds whole tokens"
    )
