"""From a YAML file and dotted overrides to a validated :class:`Recipe`."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from longspan.config.yaml_text import load_yaml
from longspan.errors import UserError
from longspan.place import is_submitted
from longspan.recipe.kinds import DescribedFile, Kind, is_finetuning, require_kind
from longspan.recipe.schema import Recipe
from longspan.recipe.sft import SftRecipe

Described = TypeVar("Described", bound=BaseModel)
File = TypeVar("File", bound=DescribedFile)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe of continual pretraining; see :func:`load`."""
    return load(Recipe, path, overrides)


def load_training(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe of continual pretraining or of supervised finetuning, whichever it is; see :func:`load`."""
    schema = SftRecipe if is_finetuning(_read(path, Recipe.kind)) else Recipe
    return load(schema, path, overrides)


def load(schema: type[File], path: str | Path, overrides: Sequence[str] = ()) -> File:
    """Read a file of the kind that the schema describes, and apply ``key.path=value`` overrides (values are YAML).

    Raises:
        UserError: the file is missing, not YAML or of another kind, a key is unknown (the nearest one is named),
            a value has the wrong type, or values contradict each other.
    """
    data = _read(path, schema.kind)
    require_kind(data, schema.kind, path)
    return parse(schema, apply_overrides(data, overrides))


def _read(path: str | Path, kind: Kind) -> dict[str, Any]:
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{kind.what}: {missing_file(path)}")
    try:
        data = load_yaml(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{kind.what}: {path} is not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise UserError(f"{kind.what}: {path} must hold keys and values, not {type(data).__name__}")
    return data


def parse_recipe(data: dict[str, Any]) -> Recipe:
    """Validate plain data as a recipe of continual pretraining; see :func:`parse`."""
    return parse(Recipe, data)


def parse(schema: type[Described], data: dict[str, Any]) -> Described:
    """Validate plain data; all problems in one :class:`UserError`, a line each."""
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        lines = [_explain(dict(problem), data, schema) for problem in error.errors()]
        raise UserError("\n".join(lines)) from None


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
            value = load_yaml(text, _Loader)
        except yaml.YAMLError as error:
            raise UserError(
                f"override {override!r}: the value is not valid YAML: {error}"
            ) from None
        _set(result, key.split("."), value, override)
    return result


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads ``2e-5`` as text, PyYAML takes the last of equal keys; users expect neither."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping as written, before merges (``<<``), which may repeat a key.

        Raises:
            _DuplicateKey: the same key twice.
        """
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line, name = key.start_mark.line + 1, (key.tag, key.value)
                if name in lines:
                    raise _DuplicateKey(
                        f"line {line}: the key {key.value!r} is given twice in one section, "
                        f"first on line {lines[name]}; keep one of them"
                    )
                lines[name] = line
        return node


class _DuplicateKey(yaml.YAMLError):
    """One of two values would be lost."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


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


def _explain(problem: dict[str, Any], data: dict[str, Any], schema: type[BaseModel]) -> str:
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
        section = _model_in(section.model_fields[part].annotation)
    return section


def all_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted key of a recipe, in the schema's order."""
    keys: list[str] = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        inner = _model_in(field.annotation)
        if inner is not None:
            keys += all_keys(inner, f"{prefix}{name}.")
    return keys


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is None:
        return None
    found = [_model_in(argument) for argument in get_args(annotation)]
    return next((model for model in found if model is not None), None)


def missing_file(path: Path) -> str:
    """Message about a file that is not there: the folder that was searched, and the nearest name in it."""
    folder = os.path.abspath(path.parent)
    if path.exists():
        return f"{str(path)!r} is a folder, not a file"
    message = f"there is no file {path.name!r} in {folder}"
    if not os.path.isdir(folder):
        message = f"there is no folder {folder}, so no {path.name!r} in it"
    else:
        names = [entry.name for entry in Path(folder).glob("*.yaml")]
        close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.4)
        message += f"; the nearest is {str(path.parent / close[0])!r}" if close else ""
    if not path.is_absolute() and is_submitted():
        message += (
            f"; a submitted job starts in a folder of the cluster's ({Path.cwd()}), not in the one that you typed "
            "it in: give an absolute path of the head node, or upload your folder with --working-dir ."
        )
    return message
