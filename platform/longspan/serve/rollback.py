"""From a stored record of a version to a config that can be deployed.

What is served comes from the record, within bounds; how, where and with what from the operator's own config
file. The bounds are for records that somebody has planted: whoever can write them must not gain the running
of a program, a model from elsewhere, or more machines than the operator's own values ask for.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from typing import Any

from longspan.config.load import parse
from longspan.config.locations import open_store
from longspan.config.overrides import apply_overrides
from longspan.errors import UserError
from longspan.serve.config import ServeConfig, application_of, of_data
from longspan.serve.schema import ServeSettings
from longspan.serve.versions import STORES, Version, plain

COUNTS = ("min", "max")
"""Keys of `replicas` that machines are paid by."""


def config_of_version(
    version: Version,
    own: ServeConfig,
    running: ServeSettings | None,
    overrides: Sequence[str],
    log: Callable[[str], None],
) -> ServeConfig:
    """Return the operator's config with the arguments of a version.

    Args:
        version: the record.
        own: the operator's config file with the overrides.
        running: arguments of the application that serves now; None if none does.
        overrides: ``key.path=value``, which hold whatever the record says.
        log: takes a line for each argument that is not taken as recorded.

    Raises:
        UserError: the model is neither in the operator's store nor one that is named elsewhere.
    """
    known = [own.settings, *([running] if running else [])]
    _require_known_model(version, own, known, overrides)
    args = apply_overrides(version.values, overrides)
    _bound_replicas(args, version, known, log)
    data = copy.deepcopy(own.data)
    application = application_of(data)
    stores = {key: application["args"][key] for key in STORES if key in application["args"]}
    application["args"] = args | stores
    config = of_data(data)
    for line in differences(config.settings, own.settings):
        log(f"version {version.number}: {line}")
    return config


def differences(settings: ServeSettings, own: ServeSettings) -> list[str]:
    """Lines that say which arguments differ from those of the config file."""
    recorded, stated = plain(settings), plain(own)
    unset = "not set"
    return [
        f"{key} is {recorded.get(key, unset)}, and {stated.get(key, unset)} in the config file"
        for key in recorded | stated
        if key not in ("model", "revision") and recorded.get(key) != stated.get(key)
    ]


def _require_known_model(
    version: Version, own: ServeConfig, known: Sequence[ServeSettings], overrides: Sequence[str]
) -> None:
    model, number = version.model, version.number
    if any(override.startswith("model=") for override in overrides):
        if own.settings.model != model:
            raise UserError(
                f"model: version {number} serves {model!r}, not {own.settings.model!r}; deploy that one "
                "with `deploy`, or leave the key out"
            )
        return
    root = open_store(own.settings).uri()
    if model in [settings.model for settings in known] or _is_below(model, root):
        return
    raise UserError(
        f"model: version {number} serves {model!r}, which is not below storage.root ({root}), and neither the "
        "config file nor the running service names it: a record in the store is not enough to load it. If it is "
        f"the one that you mean: rollback --to {number} model={model}"
    )


def _is_below(model: str, root: str) -> bool:
    """Whether an address is below the store's root; a relative name is not, since it may be found elsewhere."""
    if ".." in model.split("/"):
        return False
    inside = root.rstrip("/") + "/"
    address = model if model.startswith("s3://") else os.path.normpath(model)
    return model.startswith(("/", "s3://")) and address.startswith(inside)


def _bound_replicas(
    args: dict[str, Any],
    version: Version,
    known: Sequence[ServeSettings],
    log: Callable[[str], None],
) -> None:
    """Lower the numbers of replicas to the most that the operator's own values ask for."""
    recorded = parse(ServeSettings, args).replicas
    for key in COUNTS:
        had, most = getattr(recorded, key), max(getattr(each.replicas, key) for each in known)
        if had > most:
            args.setdefault("replicas", {})[key] = most
            log(
                f"replicas.{key}: version {version.number} had {had}; {most} is taken, the most of the config "
                f"file and the running service; to have as many again: replicas.{key}={had}"
            )
