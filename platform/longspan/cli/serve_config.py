"""Option that names the config of the chat service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from longspan.cli.packaged import RECIPES

Function = TypeVar("Function", bound=Callable[..., Any])


def default_config() -> Path:
    """Config file where none is named: serving/chat.yaml of the current folder, else the packaged one."""
    own = Path("serving/chat.yaml")
    return own if own.exists() else RECIPES / own


def config_option(function: Function) -> Function:
    """Add ``--config`` to a command."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        default=default_config,
        show_default="serving/chat.yaml if it exists, else the packaged one",
        help="Config of Ray Serve with the chat application.",
    )(function)
