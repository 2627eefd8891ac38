"""Overrides of a file's values from the command line: ``key.path=value``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from longspan.config.loader import ConfigLoader
from longspan.config.yaml_text import load_yaml
from longspan.errors import UserError


def apply_overrides(data: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of ``data`` with ``a.b=value`` set; a list item is named by its number or its ``name``."""
    result: dict[str, Any] = yaml.safe_load(yaml.safe_dump(data))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise UserError(
                f"override {override!r}: write key.path=value, for example training.seed=1"
            )
        try:
            value = load_yaml(text, ConfigLoader)
        except yaml.YAMLError as error:
            raise UserError(
                f"override {override!r}: the value is not valid YAML: {error}"
            ) from None
        _set(result, key.split("."), value, override)
    return result


def _set(node: Any, keys: list[str], value: Any, override: str) -> None:
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(node, list):
            key = _item_of(node, key, override)
        elif not isinstance(node, dict):
            raise UserError(
                f"override {override!r}: {'.'.join(keys[:depth])} is a value, not a section"
            )
        if last:
            node[key] = value
        else:
            if isinstance(node, dict) and node.get(key) is None:
                node[key] = {}
            if key == "workers" and isinstance(node[key], int):
                node[key] = {"min": node[key], "max": node[key]}
            node = node[key]


def _item_of(items: list[Any], key: str, override: str) -> int:
    if key.isdigit() and int(key) < len(items):
        return int(key)
    names = [item.get("name") for item in items if isinstance(item, dict)]
    if key in names:
        return names.index(key)
    known = ", ".join(str(name) for name in names if name) or f"0 to {len(items) - 1}"
    raise UserError(f"override {override!r}: no item {key!r} in the list; there are: {known}")
