"""Identities and choices by hash: the same recipe over the same documents gives the same rows."""

from __future__ import annotations

import hashlib
import json
from typing import Any

ID_DIGITS = 24


def content_id(*parts: Any) -> str:
    """Hexadecimal identity of what the parts (JSON values) say together."""
    return _digest(parts).hex()[:ID_DIGITS]


def text_id(text: str) -> str:
    """Hexadecimal identity of a document's text, as recorded in sets of examples."""
    return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]


def uniform(*parts: Any) -> float:
    """A number in [0, 1), evenly spread over different parts (JSON values)."""
    return int.from_bytes(_digest(parts)[:7], "big") / 2.0**56


def sampling_seed(*parts: Any) -> int:
    """A seed for a generator's sampling, 31 bits: every engine and server takes it."""
    return int.from_bytes(_digest(parts)[:4], "big") >> 1


def _digest(parts: tuple[Any, ...]) -> bytes:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).digest()
