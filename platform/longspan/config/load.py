"""Configuration files: read, checked to be of the kind that is wanted, overridden and validated."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from longspan.config.explain import explain
from longspan.config.file_kinds import DescribedFile, Kind, require_kind
from longspan.config.loader import ConfigLoader
from longspan.config.overrides import apply_overrides
from longspan.config.renamed_keys import with_new_names
from longspan.config.yaml_text import load_yaml
from longspan.errors import UserError
from longspan.job_environment import is_submitted

Described = TypeVar("Described", bound=BaseModel)
File = TypeVar("File", bound=DescribedFile)


def load(schema: type[File], path: str | Path, overrides: Sequence[str] = ()) -> File:
    """Read a file of the kind that the schema describes, and apply ``key.path=value`` overrides (values are YAML).

    Raises:
        UserError: the file is missing, not YAML or of another kind, a key is unknown (the nearest one is named),
            a value has the wrong type, or values contradict each other.
    """
    data = read_file(path, schema.kind)
    require_kind(data, schema.kind, path)
    return parse(schema, apply_overrides(data, overrides))


def read_file(path: str | Path, kind: Kind) -> dict[str, Any]:
    """Read a file as keys and values, without checking them.

    Raises:
        UserError: the file is missing, not YAML, or not a mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{kind.what}: {missing_file(path)}")
    try:
        data = load_yaml(path.read_text(encoding="utf-8"), ConfigLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{kind.what}: {path} is not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise UserError(f"{kind.what}: {path} must hold keys and values, not {type(data).__name__}")
    return data


def parse(schema: type[Described], data: dict[str, Any]) -> Described:
    """Validate plain data; all problems in one :class:`UserError`, a line each."""
    data = with_new_names(schema, data)
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        lines = [explain(dict(problem), data, schema) for problem in error.errors()]
        raise UserError("\n".join(lines)) from None


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
