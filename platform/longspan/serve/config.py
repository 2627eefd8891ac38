"""A Serve config file, as `serve deploy` takes it, with our application in it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from longspan.config.file_kinds import SERVING, require_kind
from longspan.config.load import missing_file, parse
from longspan.config.locations import local_path, open_store
from longspan.config.overrides import apply_overrides
from longspan.config.yaml_text import load_yaml
from longspan.errors import UserError
from longspan.model.address import model_address
from longspan.model.source import revision
from longspan.serve.schema import ServeSettings

BUILDER = "longspan.serve.app:build"
LOOPBACK = "127.0.0.1"
"""Host of a config that names none; Serve's own default for config files is 0.0.0.0."""


@dataclass(frozen=True)
class ServeConfig:
    """A config file.

    Attributes:
        data: all of it, with absolute paths.
        name: of our application.
        settings: of our application.
    """

    data: dict[str, Any]
    name: str
    settings: ServeSettings

    @property
    def address(self) -> str:
        """Where clients on this machine find it."""
        http = self.data.get("http_options", {})
        return f"http://127.0.0.1:{http.get('port', 8000)}"


def load_config(
    path: str | Path, overrides: Sequence[str] = (), port: int | None = None
) -> ServeConfig:
    """Read a config file, change values of our application's ``args``, and make its paths absolute.

    Args:
        path: the file.
        overrides: ``key.path=value``.
        port: in place of its own.

    Raises:
        UserError: there is no such file, it has not one application of ours, or its args are not valid.
    """
    data = read_config(path)
    if port is not None and isinstance(data, dict):
        data["http_options"] = (data.get("http_options") or {}) | {"port": port}
    return of_data(data, overrides)


def load_settings(path: str | Path, overrides: Sequence[str] = ()) -> ServeSettings:
    """The settings alone, as they are written; whether there is such a model is not looked at.

    Raises:
        UserError: as `load_config`.
    """
    args = application_of(read_config(path)).get("args") or {}
    return parse(ServeSettings, apply_overrides(args, overrides))


def read_config(path: str | Path) -> Any:
    """What a config file holds, unchecked."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"config: {missing_file(path)}")
    try:
        data = load_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    require_kind(data, SERVING, path)
    return data


def application_of(data: Any) -> dict[str, Any]:
    """Our application in what a config file holds.

    Raises:
        UserError: it has none, or several.
    """
    applications = data.get("applications") or [] if isinstance(data, dict) else []
    if not isinstance(applications, list):
        applications = []
    ours = [
        each
        for each in applications
        if isinstance(each, dict) and each.get("import_path") == BUILDER
    ]
    if len(ours) != 1:
        raise UserError(
            f"applications: one with import_path {BUILDER} is expected, not {len(ours)}"
        )
    return ours[0]


def of_data(data: Any, overrides: Sequence[str] = ()) -> ServeConfig:
    """The same from what such a file holds."""
    data = copy.deepcopy(data)
    ours = application_of(data)
    data["http_options"] = {"host": LOOPBACK} | (data.get("http_options") or {})
    args = apply_overrides(ours.get("args") or {}, overrides)
    settings = parse(ServeSettings, args)
    # Ray's processes may run in another folder.
    root = {"root": local_path(settings.storage.root)}
    args["storage"] = settings.storage.model_dump(exclude_none=True) | root
    if settings.control:
        root = {"root": local_path(settings.control.root)}
        args["control"] = settings.control.model_dump(exclude_none=True) | root
    store = open_store(settings)
    args["model"] = model_address(settings.model, store)
    # Without it Serve would take a newer export in the same folder for the model that it has.
    args.setdefault("revision", revision(args["model"], store))
    ours["args"] = args
    return ServeConfig(data, ours.get("name", "default"), parse(ServeSettings, args))
