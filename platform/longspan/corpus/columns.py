"""Columns of Arrow as Python values, in every form in which tools write text.

Text comes as a string, a large string or a view, as bytes without the mark of a text, as a dictionary
of any of these, and within structs. Arrow's compute functions do not know all of these types, so none
is used here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

UNCONVERTIBLE = (ValueError, OverflowError, TypeError)
"""Errors of making a Python object of a value: a year after 9999, bytes that are no UTF-8."""


class Unreadable:
    """A value that could not become a Python object; it stands in the value's place."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def texts(column: pa.Array) -> list[Any]:
    """Values of a column of texts.

    Text that is not UTF-8 becomes its UnicodeDecodeError, any other value what it is in Python.
    """
    column = _storage(column)
    if pa.types.is_dictionary(column.type):
        numbers = column.indices.to_pylist()
        chosen = sorted({number for number in numbers if number is not None})
        entries = dict(zip(chosen, _texts_at(_storage(column.dictionary), chosen), strict=True))
        return [None if number is None else entries[number] for number in numbers]
    return _texts(column)


def _texts_at(column: pa.Array, numbers: Sequence[int]) -> list[Any]:
    """Some of a column's values, which may be few of many."""
    return [text for number in numbers for text in _texts(column.slice(number, 1))]


def _texts(column: pa.Array) -> list[Any]:
    try:
        values = column.to_pylist()
    except UNCONVERTIBLE:
        return [_text(value) for value in column]
    if is_binary(column.type):
        return [value if value is None else decoded(value) for value in values]
    return values


def _text(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return decoded(value.as_buffer().to_pybytes())
    except UNCONVERTIBLE as error:
        return Unreadable(error)


def decoded(value: bytes) -> str | UnicodeDecodeError:
    """Bytes as text, or why they are none."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        return error


def plain(column: pa.Array) -> list[Any]:
    """Values of any column; bytes that are UTF-8 become text, and what can't be converted `Unreadable`."""
    column = _storage(column)
    try:
        values = column.to_pylist()
    except UNCONVERTIBLE:
        values = [_plain_value(value) for value in column]
    return [_with_text(value) for value in values] if _holds_bytes(column.type) else values


def _plain_value(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except UNCONVERTIBLE as error:
        return Unreadable(error)


def _with_text(value: Any) -> Any:
    """A value in which bytes that are UTF-8 are texts."""
    if isinstance(value, bytes):
        text = decoded(value)
        return value if isinstance(text, UnicodeDecodeError) else text
    if isinstance(value, dict):
        return {name: _with_text(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_text(inner) for inner in value]
    return value


def chosen(column: pa.Array, numbers: Sequence[int]) -> Iterator[pa.Array]:
    """The parts of a column that hold some of its values, given by rising numbers."""
    first = last = 0
    for number in numbers:
        if number != last:
            if last > first:
                yield column.slice(first, last - first)
            first = number
        last = number + 1
    if last > first:
        yield column.slice(first, last - first)


def field_of(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A batch's column, or the field within a struct that a name with dots leads to.

    Raises:
        KeyError: there is no such column, or several.
    """
    names = batch.schema.names
    if name in names:
        return _only(batch.columns, names, name)
    first, *rest = name.split(".")
    column = _only(batch.columns, names, first)
    for part in rest:
        inner = [field.name for field in column.type]
        # A value of a struct that is null is null, whatever stands in its place.
        column = _only(column.flatten(), inner, part)
    return column


def _only(columns: Sequence[pa.Array], names: Sequence[str], name: str) -> pa.Array:
    found = [column for column, each in zip(columns, names, strict=True) if each == name]
    if len(found) != 1:
        raise KeyError(name)
    return found[0]


def is_binary(type: pa.DataType) -> bool:
    """Whether values are bytes of any length."""
    types = pa.types
    return types.is_binary(type) or types.is_large_binary(type) or types.is_binary_view(type)


def field_names(schema: Iterable[pa.Field], prefix: str = "") -> Iterator[str]:
    """All fields, those within structs with dots."""
    for field in schema:
        name = f"{prefix}{field.name}"
        yield name
        if pa.types.is_struct(field.type):
            yield from field_names(field.type, f"{name}.")


def _storage(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _holds_bytes(type: pa.DataType) -> bool:
    if pa.types.is_dictionary(type):
        return _holds_bytes(type.value_type)
    if is_binary(type):
        return True
    return any(_holds_bytes(type.field(number).type) for number in range(type.num_fields))
