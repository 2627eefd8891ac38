"""Small JSON files that carry a SHA-256 of themselves: a flipped byte in a number is no other number."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longspan.storage.store import Store

SEAL = re.compile(rb'\{"sha256": "([0-9a-f]{64})", ')
READS = 3


class Damaged(ValueError):
    """The content is not what was sealed."""


def dumps(value: dict[str, Any]) -> bytes:
    """A JSON object, not empty and without a key "sha256", as bytes whose first key is their hash."""
    assert value and "sha256" not in value, f"not to be sealed: {sorted(value)[:5]}"
    rest = json.dumps(value).encode()[1:] + b"\n"
    return b'{"sha256": "%s", ' % _hash(rest) + rest


def loads(data: bytes) -> dict[str, Any]:
    """The inverse of :func:`dumps`.

    Raises:
        Damaged: the bytes are others than it gave.
    """
    seal = SEAL.match(data)
    if seal is None:
        raise Damaged("it does not begin with its SHA-256")
    rest = data[seal.end() :]
    if _hash(rest) != seal[1]:
        raise Damaged("its SHA-256 is another one than it says")
    return json.loads(b"{" + rest)


def read(store: Store, path: str) -> dict[str, Any]:
    """Read a sealed object; damage on the way is repaired by reading it again.

    Raises:
        Damaged: it is damaged where it is.
        UserError, FileNotFoundError: as `Store.read_bytes`.
    """
    for _ in range(READS - 1):
        try:
            return loads(store.read_bytes(path))
        except Damaged:
            continue
    return loads(store.read_bytes(path))


def _hash(rest: bytes) -> bytes:
    return hashlib.sha256(rest).hexdigest().encode()
