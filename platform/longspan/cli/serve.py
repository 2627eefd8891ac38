"""Command `serve`: the chat service of a Ray cluster."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from longspan.cli.exit_codes import ExitCode
from longspan.cli.help import Group
from longspan.cli.keys import keys
from longspan.cli.serve_config import config_option
from longspan.errors import UserError

if TYPE_CHECKING:
    from longspan.serve.config import ServeConfig
    from longspan.serve.deploy import Serving
    from longspan.serve.schema import ServeSettings
    from longspan.serve.versions import Versions

EXAMPLES = """
Examples:
  {program} plan                            every derived value with its reason
  {program} deploy model=runs/chat/model    another model, without a failed request
  {program} rollback                        the version before
  {program} status                          what is served now, and what was deployed
  {program} keys add alice --concurrent 4   a key, printed this once

Values are those of the application's args in the config file; docs/serving.md explains them. `longspan recipes copy
serving/chat chat.yaml` writes a config to change.
"""

overrides_argument = click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")
port_option = click.option("--port", type=int, help="Port to listen on, in place of the config's.")
wait_option = click.option(
    "--wait",
    type=float,
    default=3600,
    show_default=True,
    metavar="SECONDS",
    help="Time to start serving; then it is taken back.",
)


@click.group(cls=Group, examples=EXAMPLES)
def serve() -> None:
    """The chat service of a Ray cluster."""


@serve.command()
@overrides_argument
@config_option
@port_option
def plan(overrides: tuple[str, ...], config: Path, port: int | None) -> int:
    """Print every derived value with its reason, start nothing."""
    from longspan.serve.config import load_config
    from longspan.serve.deploy import connected

    loaded = load_config(config, overrides, port)
    with connected():
        print(_plan_text(loaded))
    return ExitCode.OK


@serve.command()
@overrides_argument
@config_option
@port_option
@wait_option
@click.option("--welcome", is_flag=True, help="Make a first key and print how to use the service.")
def deploy(
    overrides: tuple[str, ...], config: Path, port: int | None, wait: float, welcome: bool
) -> int:
    """Serve what the config says, beside the version before until it is up."""
    from longspan.runtime.nodes import start_machine
    from longspan.serve import deploy as deployment
    from longspan.serve.config import load_config
    from longspan.serve.control import KEYS, VERSIONS, require_writable
    from longspan.serve.status import file_note
    from longspan.serve.welcome import welcome as print_welcome

    loaded = load_config(config, overrides, port)
    require_writable(loaded.settings, (VERSIONS, KEYS) if welcome else (VERSIONS,))
    with deployment.connected() as dashboard:
        start_machine(loaded.settings.pool, print)
        print(_plan_text(loaded))
        deployment.deploy(loaded, dashboard, wait)
    if note := file_note(config, overrides):
        print(note)
    if welcome:
        print_welcome(loaded)
    return ExitCode.OK


@serve.command()
@overrides_argument
@config_option
@port_option
@wait_option
@click.option("--to", type=int, metavar="N", help="Number of the version; default: the one before.")
def rollback(
    overrides: tuple[str, ...], config: Path, port: int | None, wait: float, to: int | None
) -> int:
    """Serve the good version before again."""
    from longspan.runtime.nodes import start_machine
    from longspan.serve import deploy as deployment
    from longspan.serve.config import load_config, load_settings
    from longspan.serve.control import require_writable
    from longspan.serve.rollback import config_of_version

    versions = _versions(load_settings(config, overrides))
    versions.require_candidate(to)
    own = load_config(config, overrides, port)
    require_writable(own.settings)
    with deployment.connected() as dashboard:
        running = deployment.serving(dashboard, own.name).settings
        version = versions.before(to, running)
        before = config_of_version(version, own, running, overrides, print)
        start_machine(before.settings.pool, print)
        print(_plan_text(before))
        deployment.deploy(before, dashboard, wait, version.restores or version.number)
    return ExitCode.OK


@serve.command()
@overrides_argument
@config_option
def status(overrides: tuple[str, ...], config: Path) -> int:
    """Print what is served now, and the versions recorded."""
    from longspan.serve.config import application_of, load_settings, read_config
    from longspan.serve.control import open_control
    from longspan.serve.deploy import connected, serving
    from longspan.serve.status import status_lines
    from longspan.serve.versions import FOLDER

    settings = load_settings(config, overrides)
    versions = _versions(settings).all()
    name = application_of(read_config(config)).get("name", "default")
    try:
        with connected() as dashboard:
            now: Serving | str = serving(dashboard, name)
    except UserError as error:
        now = str(error)
    for line in status_lines(now, versions, open_control(settings).uri(FOLDER)):
        print(line)
    return ExitCode.OK


serve.add_command(keys)


def _versions(settings: ServeSettings) -> Versions:
    from longspan.serve.control import open_control
    from longspan.serve.versions import Versions

    return Versions(open_control(settings), lambda line: print(line, file=sys.stderr))


def _plan_text(config: ServeConfig) -> str:
    from longspan.serve.describe import plan_text
    from longspan.serve.engine import plan_engine
    from longspan.serve.exposure import exposure, without_token
    from longspan.serve.hardware import probe_hardware
    from longspan.serve.model import inspect_served_model

    settings = config.settings
    model, hardware = inspect_served_model(settings), probe_hardware(settings.pool)
    text = plan_text(settings, model, hardware, plan_engine(settings, model, hardware))
    return "\n\n".join([text, *exposure(config, model.window), *without_token(os.environ)])
