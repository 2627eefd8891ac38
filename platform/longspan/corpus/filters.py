"""Which rows of a corpus are taken, by their other fields: one predicate for every format of rows."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import date
from decimal import Decimal
from typing import Any

Scalar = str | int | float | bool
Row = Mapping[str, Any]

KEYS = ("min", "max", "not")
ABSENT = object()
NAMES_OF_ROWS = 100
FILTERED_OUT = "filtered out"


@dataclass(frozen=True)
class LeftOut:
    """Some documents that are left out by choice, and why; stands in a stream in their place."""

    reason: str
    count: int = 1


@dataclass(frozen=True)
class Condition:
    """What a field's value must be; null, and a value of another kind, never is.

    Numbers are compared with numbers, and text with text, character by character: ISO dates come in
    order so. A date or a time of a Parquet column is compared as its ISO text.

    Attributes:
        field: the field's name; dots reach into nested objects.
        one_of: the values it may have; None is any.
        at_least: the smallest, itself included.
        at_most: the largest, itself included.
        none_of: values it must not have.
    """

    field: str
    one_of: tuple[Scalar, ...] | None = None
    at_least: Scalar | None = None
    at_most: Scalar | None = None
    none_of: tuple[Scalar, ...] = ()

    def holds(self, value: object) -> bool:
        """Whether a value of the field meets the condition."""
        if isinstance(value, date):
            value = value.isoformat()
        if value is None or value is ABSENT:
            return False
        if self.one_of is not None and not any(_same(value, each) for each in self.one_of):
            return False
        if any(_same(value, each) for each in self.none_of):
            return False
        return _in_order(self.at_least, value) and _in_order(value, self.at_most)


def conditions(where: Mapping[str, Any]) -> tuple[Condition, ...]:
    """A recipe's ``where`` as conditions, sorted by field.

    Each is a value, a list of values, or a mapping with ``min``, ``max`` (both inclusive) and ``not``.

    Raises:
        ValueError: it is none of these, or no value can meet it.
    """
    return tuple(_condition(str(field), said) for field, said in sorted(where.items()))


class Filter:
    """The conditions on one object's rows; notes which of the fields it meets."""

    def __init__(self, conditions: Sequence[Condition] = ()) -> None:
        self._checks = [(field_path(each.field), each) for each in conditions]
        self._unmet = {each.field for each in conditions}
        self._names: dict[str, None] = {}
        self._rows = 0

    def __bool__(self) -> bool:
        """Whether there are any conditions."""
        return bool(self._checks)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that conditions are on."""
        return tuple(check.field for _, check in self._checks)

    def matches(self, row: Row) -> bool:
        """Whether a row meets all conditions."""
        found = [(value_at(row, path), check) for path, check in self._checks]
        if self._unmet:
            self._note(row, found)
        return all(check.holds(value) for value, check in found)

    def never_met(self) -> tuple[str, str | None] | None:
        """A field that no row had, and the nearest that there is; None if there is no such."""
        if not self._rows or not self._unmet:
            return None
        field = min(self._unmet)
        return field, nearest(field, self._names)

    def _note(self, row: Row, found: list[tuple[object, Condition]]) -> None:
        self._unmet -= {check.field for value, check in found if value is not ABSENT}
        if self._rows < NAMES_OF_ROWS:
            self._names.update(dict.fromkeys(_names_in(row)))
        self._rows += 1


def field_path(field: str) -> tuple[str, ...]:
    """The names that lead to a dotted field."""
    return tuple(field.split("."))


def value_at(row: Row, path: tuple[str, ...]) -> Any:
    """A row's value of a field, `ABSENT` where it has none; a name with dots in it is found too."""
    if len(path) > 1 and (name := ".".join(path)) in row:
        return row[name]
    node: Any = row
    for name in path:
        if not isinstance(node, Mapping) or name not in node:
            return ABSENT
        node = node[name]
    return node


def nearest(field: str, names: Iterable[str]) -> str | None:
    """The name most like a field's, if there are any names."""
    return next(iter(difflib.get_close_matches(field, list(names), 1, 0.0)), None)


def facts(where: Sequence[Condition]) -> list[Any]:
    """Conditions as plain values, to compare and to hash."""
    return [astuple(each) for each in where]


def _condition(field: str, said: object) -> Condition:
    if not isinstance(said, Mapping):
        return Condition(field, one_of=_values(field, said))
    for key in said:
        if key not in KEYS:
            raise ValueError(
                f"{field}: {key!r} is unknown: a condition is a value, a list of values, or a mapping "
                f"with min, max and not; a field within a field is written {{{field}.{key}: ...}}"
            )
    if not said:
        raise ValueError(f"{field}: the condition is empty; give a value, min, max or not")
    low, high = (_bound(field, key, said.get(key)) for key in ("min", "max"))
    if low is not None and high is not None:
        if _kind(low) is not _kind(high):
            raise ValueError(f"{field}: min {low!r} and max {high!r} can't be compared")
        if not _in_order(low, high):
            raise ValueError(f"{field}: min {low!r} is above max {high!r}; no row would be left")
    return Condition(
        field,
        at_least=low,
        at_most=high,
        none_of=_values(field, said["not"]) if "not" in said else (),
    )


def _values(field: str, said: object) -> tuple[Scalar, ...]:
    values = tuple(said) if isinstance(said, (list, tuple)) else (said,)
    if not values:
        raise ValueError(f"{field}: the list of values is empty; no row would be left")
    return tuple(_scalar(field, value) for value in values)


def _bound(field: str, key: str, value: object) -> Scalar | None:
    if value is None:
        return None
    bound = _scalar(field, value)
    if isinstance(bound, bool):
        raise ValueError(f"{field}: {key} must be a number or a text, but is {bound!r}")
    return bound


def _scalar(field: str, value: object) -> Scalar:
    if isinstance(value, date):  # YAML reads 2024-01-31 as one.
        return value.isoformat()
    if not isinstance(value, Scalar) or (isinstance(value, float) and not math.isfinite(value)):
        hint = "; rows without the field are left out anyway" if value is None else ""
        raise ValueError(
            f"{field}: must be a text, a finite number, true or false, but is {value!r}{hint}"
        )
    return value


def _kind(value: object) -> type | None:
    """Text, numbers and truth values each compare among themselves only; None is anything else."""
    if isinstance(value, bool):
        return bool
    if isinstance(value, (int, float, Decimal)):
        return float
    return str if isinstance(value, str) else None


def _same(value: object, wanted: Scalar) -> bool:
    return _kind(value) is _kind(wanted) and value == wanted


def _in_order(low: Any, high: Any) -> bool:
    """Whether low <= high; a bound that is not given (None) allows everything."""
    if low is None or high is None:
        return True
    return _kind(low) is _kind(high) and low <= high


def _names_in(row: Row, prefix: str = "") -> Iterable[str]:
    for name, value in row.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _names_in(value, f"{prefix}{name}.")
