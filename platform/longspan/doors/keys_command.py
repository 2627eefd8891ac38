"""`python -m longspan.serve keys`: API keys made, listed and revoked. Running services follow within seconds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from longspan.doors import keys
from longspan.errors import UserError
from longspan.storage import Store

UNLIMITED = "unlimited"
OpenStore = Callable[[argparse.Namespace], Store]


def add_parsers(
    subjects: argparse._SubParsersAction[argparse.ArgumentParser], config: Path, opened: OpenStore
) -> None:
    """Add `keys` to a command line.

    Args:
        subjects: where commands are added; each sets ``action``, which takes the options.
        config: the config file where none is named.
        opened: the store that the options ``store`` and ``config`` name.
    """
    actions = subjects.add_parser("keys", help="API keys").add_subparsers(required=True)

    adding = actions.add_parser("add", help="make a key and print it, this once")
    adding.set_defaults(action=lambda options: _add(opened(options), options))
    adding.add_argument("name")
    for field in keys.KeyLimits.model_fields:
        option = "--" + field.replace("_", "-")
        default = getattr(keys.DEFAULT_LIMITS, field)
        shown = f"or {UNLIMITED}; default: {default}"
        adding.add_argument(option, type=_number, default=default, metavar="N", help=shown)

    listing = actions.add_parser("list", help="names, when they were made, and limits")
    listing.set_defaults(action=lambda options: _list(opened(options), options))

    revoking = actions.add_parser("revoke", help="delete a key")
    revoking.set_defaults(action=lambda options: _revoke(opened(options), options))
    revoking.add_argument("name")

    for each in (adding, listing, revoking):
        each.add_argument("--config", type=Path, default=config, help=f"default: {config}")
        each.add_argument(
            "--store", help="a folder, or s3://bucket/prefix, in place of the config's"
        )


def _number(text: str) -> int | None:
    """A limit as it is typed; None for no limit."""
    return None if text == UNLIMITED else int(text)


def _add(store: Store, options: argparse.Namespace) -> None:
    try:
        limits = keys.KeyLimits(
            **{field: getattr(options, field) for field in keys.KeyLimits.model_fields}
        )
    except ValidationError as error:
        problem = error.errors()[0]
        option = "--" + str(problem["loc"][0]).replace("_", "-")
        raise UserError(f"{option} {problem['input']}: must be 1 or more") from None
    print(keys.add(store, options.name, limits))
    print("This is the only time that the key is shown.", file=sys.stderr)


def _list(store: Store, options: argparse.Namespace) -> None:
    found = list(keys.listed(store))
    if not found:
        print(
            f"no keys in {store.uri(keys.FOLDER)}; make one: python -m longspan.serve keys add NAME"
        )
    for name, key in found:
        if isinstance(key, UserError):
            print(f"{name}  not accepted: {key}")
            continue
        limits = key.limits.model_dump(exclude_none=True)
        shown = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in limits.items())
        print(f"{key.name}  {key.created:%Y-%m-%d %H:%M} UTC  {shown or 'no limits'}")


def _revoke(store: Store, options: argparse.Namespace) -> None:
    keys.revoke(store, options.name)
    print(f"{options.name} is revoked")
