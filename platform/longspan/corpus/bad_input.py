"""What is wrong with a raw object, and where."""

from __future__ import annotations

from longspan.storage import is_transport
from longspan.storage.bounds import TooLarge
from longspan.storage.parquet import RefusedColumn


class BadInput(Exception):
    """A raw object, or a part of it, that is not what its format promises.

    Attributes:
        object: the object's path.
        where: the place in it, for a person ("line 3").
        reason: the kind of damage, short, to count by ("not UTF-8").
        detail: what exactly was found; may be empty.
    """

    def __init__(self, object: str, where: str, reason: str, detail: str = "") -> None:
        super().__init__(object, where, reason, detail)
        self.object = object
        self.where = where
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.object}, {self.where}: {self.reason}{detail}"


def undecodable(object: str, where: str, error: UnicodeDecodeError, before: int = 0) -> BadInput:
    """For bytes that are not UTF-8; `before` is the number of bytes that came before `error`'s."""
    found = error.object[error.start]
    detail = f"byte 0x{found:02x} at offset {before + error.start}"
    return BadInput(object, where, "not UTF-8", detail)


def without_field(object: str, where: str, field: str, has: list[str]) -> BadInput:
    """For a row that lacks the text field."""
    return no_field(object, where, "no text field", field, has)


def no_field(object: str, where: str, reason: str, field: str, has: list[str]) -> BadInput:
    """For a row that lacks a field that it must have."""
    names = ", ".join(map(repr, has)) or "none"
    return BadInput(object, where, reason, f"{field!r} is not among its fields: {names}")


def not_text(object: str, where: str, field: str, value: object) -> BadInput:
    """For a row whose text field holds something else."""
    kind = "null" if value is None else type(value).__name__
    return BadInput(object, where, "text field is no text", f"{field!r} is of type {kind}")


def unreadable(object: str, where: str, error: Exception) -> BadInput:
    """For an archive or a Parquet file that ends early, is damaged, or is refused for what it could do.

    Raises:
        OSError: the error itself, when it says that the object was not reached at all: skipping
            bad input must not skip what a network lost.
    """
    if is_transport(error):
        raise error
    if isinstance(error, RefusedColumn):
        return BadInput(object, where, "extension type", str(error))
    if isinstance(error, TooLarge):
        return BadInput(object, where, "too large", str(error))
    return BadInput(object, where, "truncated or corrupt", " ".join(str(error).split())[:200])
