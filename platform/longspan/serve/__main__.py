"""Command line: python -m longspan.serve plan|deploy|rollback|status|keys."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from longspan.config.locations import local_path
from longspan.doors import keys_command
from longspan.errors import UserError
from longspan.run import console
from longspan.serve.config import (
    ServeConfig,
    application_of,
    load_config,
    load_settings,
    read_config,
)
from longspan.serve.control import KEYS, VERSIONS, open_control, open_to_others, require_writable
from longspan.serve.status import file_note, status_lines
from longspan.serve.versions import FOLDER, Versions
from longspan.storage import Store

if TYPE_CHECKING:
    from longspan.serve.deploy import Serving

EXAMPLES = """
examples:
  python -m longspan.serve plan                            every derived value with its reason
  python -m longspan.serve deploy model=runs/chat/model    another model, without a failed request
  python -m longspan.serve rollback                        the version before
  python -m longspan.serve status                          what is served now, and what was deployed
  python -m longspan.serve keys add alice --concurrent 4   a key, printed this once

Values are those of the application's args in the config file; docs/serving.md explains them.
"""
CONFIG = Path("serving/chat.yaml")


def main(arguments: list[str] | None = None) -> int:
    """Run one command: 0 done, 2 and a message where the user has to mend something."""
    return console.run(_run, sys.argv[1:] if arguments is None else arguments)


def _run(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    options.action(options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m longspan.serve",
        description="The chat service of a Ray cluster.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    actions = {
        "plan": (_plan, "print every derived value with its reason, start nothing"),
        "deploy": (_deploy, "serve what the config says, beside the version before until it is up"),
        "rollback": (_rollback, "serve the good version before again"),
        "status": (_status, "what is served now, and the versions recorded"),
    }
    for name, (action, purpose) in actions.items():
        command = commands.add_parser(name, help=purpose)
        command.set_defaults(action=action)
        command.add_argument("overrides", nargs="*", metavar="key.path=value")
        command.add_argument("--config", type=Path, default=CONFIG, help=f"default: {CONFIG}")
        command.add_argument("--port", type=int, help="in place of the config's")
        if name == "rollback":
            command.add_argument("--to", type=int, metavar="N", help="that version")
        if name == "deploy":
            command.add_argument("--welcome", action="store_true", help="say how to use it")
        if name in ("deploy", "rollback"):
            command.add_argument(
                "--wait",
                type=float,
                default=3600,
                metavar="SECONDS",
                help="for it to serve, then it is taken back (default: %(default)g)",
            )
    keys_command.add_parsers(commands, CONFIG, _store)
    return parser


def _plan(options: argparse.Namespace) -> None:
    from longspan.serve.deploy import connected

    config = _config(options)
    with connected():
        print(_plan_text(config))


def _deploy(options: argparse.Namespace) -> None:
    from longspan.run.machines import start_machine
    from longspan.serve.deploy import connected, deploy
    from longspan.serve.welcome import welcome

    config = _config(options)
    require_writable(config.settings, (VERSIONS, KEYS) if options.welcome else (VERSIONS,))
    with connected() as dashboard:
        start_machine(config.settings.pool, print)
        print(_plan_text(config))
        deploy(config, dashboard, options.wait)
    if note := file_note(options.config, options.overrides):
        print(note)
    if options.welcome:
        welcome(config)


def _rollback(options: argparse.Namespace) -> None:
    from longspan.run.machines import start_machine
    from longspan.serve.deploy import connected, deploy, serving
    from longspan.serve.rollback import config_of_version

    versions = _versions(options)
    versions.require_candidate(options.to)
    own = _config(options)
    require_writable(own.settings)
    with connected() as dashboard:
        running = serving(dashboard, own.name).settings
        version = versions.before(options.to, running)
        before = config_of_version(version, own, running, options.overrides, print)
        start_machine(before.settings.pool, print)
        print(_plan_text(before))
        deploy(before, dashboard, options.wait, version.restores or version.number)


def _status(options: argparse.Namespace) -> None:
    from longspan.serve.deploy import connected, serving

    store = open_control(load_settings(options.config, options.overrides))
    versions = _versions(options).all()
    name = application_of(read_config(options.config)).get("name", "default")
    try:
        with connected() as dashboard:
            now: Serving | str = serving(dashboard, name)
    except UserError as error:
        now = str(error)
    for line in status_lines(now, versions, store.uri(FOLDER)):
        print(line)


def _config(options: argparse.Namespace) -> ServeConfig:
    return load_config(options.config, options.overrides, options.port)


def _versions(options: argparse.Namespace) -> Versions:
    store = open_control(load_settings(options.config, options.overrides))
    return Versions(store, lambda line: print(line, file=sys.stderr))


def _store(options: argparse.Namespace) -> Store:
    named = options.store
    store = Store(local_path(named)) if named else open_control(load_settings(options.config))
    for line in open_to_others(store):
        print(f"warning: {line}", file=sys.stderr)
    return store


def _plan_text(config: ServeConfig) -> str:
    from longspan.serve.describe import plan_text
    from longspan.serve.engine import plan_engine
    from longspan.serve.exposure import exposure, without_token
    from longspan.serve.hardware import look_around
    from longspan.serve.model import look_at

    settings = config.settings
    model, hardware = look_at(settings), look_around(settings.pool)
    text = plan_text(settings, model, hardware, plan_engine(settings, model, hardware))
    return "\n\n".join([text, *exposure(config, model.window), *without_token(os.environ)])


if __name__ == "__main__":
    sys.exit(main())
