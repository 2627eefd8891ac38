"""Command line: python -m longspan.serve plan|deploy|rollback|status."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from longspan.run import console
from longspan.serve.config import ServeConfig, load_config, of_data

EXAMPLES = """
examples:
  python -m longspan.serve plan                            every derived value with its reason
  python -m longspan.serve deploy model=runs/chat/model    another model, without a failed request
  python -m longspan.serve rollback                        the version before
  python -m longspan.serve status                          what was deployed
"""
CONFIG = Path("serving/chat.yaml")


def main(arguments: list[str]) -> int:
    """Run one command."""
    options = _options(arguments)
    config = load_config(options.config, options.overrides)
    if options.command == "status":
        return _status(config)

    from longspan.serve.deploy import connected, deploy

    with connected() as dashboard:
        if options.command == "plan":
            print(_plan(config))
            return 0
        if options.command == "rollback":
            from longspan.serve.versions import Versions

            config = of_data(Versions(config.store).before(options.to).config)
        print(_plan(config))
        deploy(config, dashboard)
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m longspan.serve",
        description="The chat service of a Ray cluster.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("plan", "deploy", "rollback", "status"))
    parser.add_argument("overrides", nargs="*", metavar="key.path=value")
    parser.add_argument("--config", type=Path, default=CONFIG, help=f"default: {CONFIG}")
    parser.add_argument("--to", type=int, help="rollback: the number of a version")
    return parser.parse_intermixed_args(arguments)


def _plan(config: ServeConfig) -> str:
    from longspan.serve.describe import plan_text
    from longspan.serve.engine import plan_engine
    from longspan.serve.hardware import look_around
    from longspan.serve.model import look_at

    settings = config.settings
    model, hardware = look_at(settings), look_around()
    return plan_text(settings, model, hardware, plan_engine(settings, model, hardware))


def _status(config: ServeConfig) -> int:
    from longspan.serve.versions import Versions

    for version in Versions(config.store).all():
        print(f"{version.number:4}  {version.at}  {version.state:<7} {version.model}")
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main, sys.argv[1:]))
