"""Command `serve keys`: API keys made, listed and revoked. Running services follow within seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from longspan.cli.exit_codes import ExitCode
from longspan.cli.help import Group
from longspan.cli.serve_config import config_option
from longspan.errors import UserError

if TYPE_CHECKING:
    from longspan.storage import Store

EXAMPLES = """
Examples:
  {program} add alice --requests-per-minute 60 --tokens-per-minute unlimited
  {program} list --store s3://bucket/prefix
  {program} revoke alice
"""
UNLIMITED = "unlimited"
Function = TypeVar("Function", bound=Callable[..., Any])


class LimitType(click.ParamType):
    """A number, or `unlimited`, which is None."""

    name = "limit"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        """Return the number, or None for no limit."""
        if value is None or value == UNLIMITED:
            return None
        try:
            return int(value)
        except ValueError:
            return self.fail(f"{value!r} is neither a number nor {UNLIMITED}", param, ctx)


class LimitOption(click.Option):
    """Option for one limit of a key; its default is that of keys in general."""

    def get_default(self, ctx: click.Context, call: bool = True) -> Any:
        """Return the default of the field of this name."""
        from longspan.serve.gateway.keys import DEFAULT_LIMITS

        assert self.name
        return getattr(DEFAULT_LIMITS, self.name)


def store_options(function: Function) -> Function:
    """Add the options that name the store of keys, as `config` and `store`."""
    return config_option(
        click.option(
            "--store",
            metavar="ROOT",
            help="A folder or s3://bucket/prefix, in place of the config's.",
        )(function)
    )


def limit_option(name: str, text: str) -> Callable[[Function], Function]:
    """Return a decorator that adds an option for a limit."""
    return click.option(
        name,
        cls=LimitOption,
        type=LimitType(),
        metavar="N",
        show_default=True,
        help=f"{text} N may be {UNLIMITED}.",
    )


@click.group(cls=Group, examples=EXAMPLES)
def keys() -> None:
    """API keys of the chat service."""


@keys.command()
@click.argument("name")
@limit_option(
    "--requests-per-minute", "Requests that begin within any 60 seconds, in each replica."
)
@limit_option("--concurrent", "Requests at once, in each replica.")
@limit_option(
    "--tokens-per-minute", "Tokens of prompts and answers within 60 seconds, in each replica."
)
@store_options
def add(name: str, config: Path, store: str | None, **limits: int | None) -> int:
    """Make a key and print it, this once."""
    from pydantic import ValidationError

    from longspan.serve.gateway.keys import KeyLimits
    from longspan.serve.gateway.keys import add as add_key

    opened = _open(config, store)
    try:
        checked = KeyLimits(**limits)
    except ValidationError as error:
        problem = error.errors()[0]
        option = "--" + str(problem["loc"][0]).replace("_", "-")
        raise UserError(f"{option} {problem['input']}: must be 1 or more") from None
    print(add_key(opened, name, checked))
    print("This is the only time that the key is shown.", file=sys.stderr)
    return ExitCode.OK


@keys.command("list")
@store_options
def list_keys(config: Path, store: str | None) -> int:
    """Print names, when they were made, and limits."""
    from longspan.serve.gateway.keys import FOLDER, listed

    opened = _open(config, store)
    found = list(listed(opened))
    if not found:
        print(f"no keys in {opened.uri(FOLDER)}; make one: longspan serve keys add NAME")
    for name, key in found:
        if isinstance(key, UserError):
            print(f"{name}  not accepted: {key}")
            continue
        limits = key.limits.model_dump(exclude_none=True)
        shown = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in limits.items())
        print(f"{key.name}  {key.created:%Y-%m-%d %H:%M} UTC  {shown or 'no limits'}")
    return ExitCode.OK


@keys.command()
@click.argument("name")
@store_options
def revoke(name: str, config: Path, store: str | None) -> int:
    """Delete a key."""
    from longspan.serve.gateway.keys import revoke as revoke_key

    revoke_key(_open(config, store), name)
    print(f"{name} is revoked")
    return ExitCode.OK


def _open(config: Path, root: str | None) -> Store:
    """Return the store of keys; who else can write to it is warned of."""
    from longspan.config.locations import local_path
    from longspan.serve.config import load_settings
    from longspan.serve.control import open_control, open_to_others
    from longspan.storage import Store

    store = Store(local_path(root)) if root else open_control(load_settings(config))
    for line in open_to_others(store):
        print(f"warning: {line}", file=sys.stderr)
    return store
