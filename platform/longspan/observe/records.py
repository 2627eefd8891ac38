"""Metrics records as strict JSON.

JSON has no word for NaN and the infinities, and Python's bare ``NaN`` is refused by strict readers.
They are written as the strings "NaN", "Infinity" and "-Infinity" (as Protocol Buffers' JSON mapping
does), and read back as the floats they were.
"""

from __future__ import annotations

import json
import math
from typing import Any

from longspan.observe.tracker import Record

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_json(record: Record) -> str:
    """One line of strict JSON.

    Raises:
        TypeError: a value is no number, word, list or dict; the message names its key.
    """
    return json.dumps(_plain(dict(record), "record"), allow_nan=False, separators=(",", ":"))


def from_json(line: str) -> dict[str, Any]:
    """The record that :func:`to_json` wrote; ValueError where the line is none."""
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError(f"a record is a JSON object, not {type(record).__name__}")
    return {key: _restored(value) for key, value in record.items()}


def _plain(value: Any, key: str) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, dict):
        return {str(name): _plain(item, f"{key}.{name}") for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, key) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _name(value)
    if hasattr(value, "tolist"):  # numpy's scalars and arrays, torch's tensors
        return _plain(value.tolist(), key)
    raise TypeError(f"{key}: a record holds numbers and words, not {type(value).__name__}")


def _name(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(item) for item in value]
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value
