"""Messages about values that a schema refuses: the key, what is wrong, and the nearest known key."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel


def explain(problem: dict[str, Any], data: dict[str, Any], schema: type[BaseModel]) -> str:
    """Return the message about one of pydantic's errors.

    Args:
        problem: one item of ``ValidationError.errors()``.
        data: what was validated.
        schema: what it was validated against.
    """
    location = list(problem["loc"])
    key = _readable(location, data)
    kind, value = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        return f"{key}: unknown key{_nearest_key(location, key, schema)}"
    if kind == "missing":
        return f"{key}: required, but not set{_described(location, schema)}"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if kind == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}: must be {message}, but is {value!r}"


def _readable(location: Sequence[Any], data: Any) -> str:
    """``('corpora', 0, 'weight')`` as ``corpora.books.weight``."""
    parts: list[str] = []
    node = data
    for part in location:
        item: Any = node[part] if _holds(node, part) else None
        named = isinstance(part, int) and isinstance(item, dict)
        parts.append(str((item.get("name") or part) if named else part))
        node = item
    return ".".join(parts)


def _holds(node: Any, part: Any) -> bool:
    if isinstance(node, dict):
        return part in node
    return isinstance(node, list) and isinstance(part, int) and part < len(node)


def _nearest_key(location: Sequence[Any], key: str, schema: type[BaseModel]) -> str:
    """Name the nearest key: a near miss at the same place, the same key elsewhere, else a near one."""
    *parents, unknown = location
    section = _section_at(parents, schema)
    siblings = list(section.model_fields) if section else []
    here = key.rpartition(".")[0] + "." if parents else ""
    everywhere = {path.split(".")[-1]: path for path in reversed(all_keys(schema))}
    for cutoff in (0.8, 0.5):
        close = difflib.get_close_matches(str(unknown), siblings, n=1, cutoff=cutoff)
        if close:
            return f"; the nearest known key is {here}{close[0]}"
        close = difflib.get_close_matches(str(unknown), list(everywhere), n=1, cutoff=cutoff)
        if close:
            return f"; the nearest known key is {everywhere[close[0]]}"
    return f"; known keys here: {', '.join(siblings)}" if siblings else ""


def _described(location: Sequence[Any], schema: type[BaseModel]) -> str:
    """The description of a key, in parentheses; nothing where it has none."""
    *parents, name = location
    section = _section_at(parents, schema)
    field = section.model_fields.get(str(name)) if section else None
    text = " ".join((field.description or "").split()) if field else ""
    return f" ({text.removesuffix('.')})" if text else ""


def _section_at(path: Sequence[Any], schema: type[BaseModel]) -> type[BaseModel] | None:
    section: type[BaseModel] | None = schema
    for part in path:
        if isinstance(part, int):
            continue
        if section is None or part not in section.model_fields:
            return None
        section = section_in(section.model_fields[part].annotation)
    return section


def all_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted key of a recipe, in the schema's order."""
    keys: list[str] = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        inner = section_in(field.annotation)
        if inner is not None:
            keys += all_keys(inner, f"{prefix}{name}.")
    return keys


def section_in(annotation: Any) -> type[BaseModel] | None:
    """Return the section that an annotation holds, as in ``Section | None`` or ``list[Section]``; None without one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is None:
        return None
    found = [section_in(argument) for argument in get_args(annotation)]
    return next((model for model in found if model is not None), None)
