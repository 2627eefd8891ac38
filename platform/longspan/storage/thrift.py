"""Structs in the compact protocol of Thrift, as far as Parquet has use for it; texts are left out."""

from __future__ import annotations

from typing import Any

Struct = dict[int, Any]
MAX_DEPTH = 16


class UnknownLayout(ValueError):
    """Headers that could not be parsed: damaged, or of a form that is not known here."""


def read_struct(data: bytes, at: int = 0, depth: int = 0) -> tuple[Struct, int]:
    """A struct of Thrift's compact protocol as a dictionary by field number, and the place after it.

    Raises:
        IndexError: it does not end in `data`.
        UnknownLayout: it is no such struct.
    """
    found: Struct = {}
    field = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            field += head >> 4
        else:
            field, at = _zigzag(data, at)
        found[field], at = _value(data, at, head & 15, depth)
    return found, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (1, 2):
        return kind == 1, at
    if kind == 3:
        return data[at], at + 1
    if kind in (4, 5, 6):
        return _zigzag(data, at)
    if kind in (7, 8):
        length, at = (8, at) if kind == 7 else read_varint(data, at)
        if at + length > len(data):
            raise IndexError("a value ends behind the data")
        return None, at + length
    if kind in (9, 10):
        return _list(data, at, depth)
    if kind == 11:
        return _map(data, at, depth)
    if kind == 12 and depth < MAX_DEPTH:
        return read_struct(data, at, depth + 1)
    raise UnknownLayout(f"a field of kind {kind}")


def _list(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    head, at = data[at], at + 1
    size, kind = head >> 4, head & 15
    if size == 15:
        size, at = read_varint(data, at)
    found = []
    for _ in range(size):
        # Other than in a struct, a truth value is a byte.
        value, at = _value(data, at, 3 if kind in (1, 2) else kind, depth)
        found.append(value)
    return found, at


def _map(data: bytes, at: int, depth: int) -> tuple[None, int]:
    size, at = read_varint(data, at)
    kinds, at = (data[at], at + 1) if size else (0, at)
    for _ in range(size):
        for kind in (kinds >> 4, kinds & 15):
            _, at = _value(data, at, 3 if kind in (1, 2) else kind, depth)
    return None, at


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    value, at = read_varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of any length in groups of seven bits, and the place after it.

    Raises:
        IndexError: it does not end in `data`.
        UnknownLayout: it is longer than a number can be.
    """
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise UnknownLayout("a number of more than ten bytes")
