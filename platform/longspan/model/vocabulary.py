"""Whether a tokenizer belongs to a model, told from tokenizer.json and config.json alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Models round their vocabulary up by a few per cent; a tokenizer far smaller is another model's.
MIN_COVERED = 0.9


def token_ids(described: Mapping[str, Any]) -> dict[str, int]:
    """Every token and its id, added ones included, of a tokenizer.json."""
    vocabulary = described.get("model", {}).get("vocab", {})
    if isinstance(vocabulary, list):  # Unigram: pairs of token and score
        vocabulary = {entry[0]: number for number, entry in enumerate(vocabulary)}
    return {**vocabulary, **_added(described)}


def why_foreign(described: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """Why the tokenizer is not the model's, in words; None where it may be.

    It is the model's when the model has an embedding for each of its ids and hardly any more, and
    when the ids that the config calls bos and eos are added tokens of it. (They need not be *its*
    bos and eos: chat models often end a turn and a text with different tokens.)

    Args:
        described: the tokenizer's tokenizer.json.
        config: the model's config.json.
    """
    tokens, size = token_ids(described), config["vocab_size"]
    if not tokens:
        return "it has no vocabulary"
    if max(tokens.values()) >= size:
        return f"it has ids up to {max(tokens.values()):,}, the model's vocabulary is {size:,}"
    if len(tokens) < MIN_COVERED * size:
        return f"it has {len(tokens):,} tokens, the model's vocabulary is {size:,}"
    return _misplaced_special(described, tokens, config)


def _misplaced_special(
    described: Mapping[str, Any], tokens: Mapping[str, int], config: Mapping[str, Any]
) -> str | None:
    special = set(_added(described).values())
    names = {number: token for token, number in tokens.items()}
    for key in ("bos_token_id", "eos_token_id"):
        value = config.get(key)
        for number in value if isinstance(value, list) else [value]:
            if number is not None and number not in special:
                return f"the model's {key} {number} is the ordinary token {names.get(number)!r}"
    return None


def _added(described: Mapping[str, Any]) -> dict[str, int]:
    return {token["content"]: token["id"] for token in described.get("added_tokens", [])}
