"""Command line: python -m longspan.cluster render|cost|prepare|check."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from longspan.cluster.schema import Settings
from longspan.cluster.settings import SETTINGS, load_settings
from longspan.run import console

EXAMPLES = """
examples:
  python -m longspan.cluster render                             settings.yaml -> aws.yaml and the IAM policies beside it
  python -m longspan.cluster cost jobs/recipes/llama3-8b-64k.yaml pools.training.type=p5en.48xlarge
  python -m longspan.cluster prepare                            roles, instance profiles and the security group, in AWS
  python -m longspan.cluster check                              what AWS has against it, before `ray up` finds out

Values are those of cluster/settings.yaml (of the recipe too, for cost); docs/cluster.md explains them.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command: 0 done, 2 and a message where the user has to mend something."""
    return console.run(_run, sys.argv[1:] if arguments is None else arguments)


def _run(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    return options.action(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m longspan.cluster",
        description="The cluster on AWS that `ray up cluster/aws.yaml` makes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    actions = {
        "render": (_render, "write what `ray up` and IAM read"),
        "cost": (_cost, "dollars an hour and for a recipe's run; asks nobody"),
        "prepare": (
            _prepare,
            "create or update roles, instance profiles and the security group (asks AWS)",
        ),
        "check": (_check, "look for what would stop `ray up` (asks AWS, changes nothing)"),
    }
    for name, (action, purpose) in actions.items():
        command = commands.add_parser(name, help=purpose)
        command.set_defaults(action=action)
        if name == "cost":
            command.add_argument("recipe", type=Path)
        command.add_argument("overrides", nargs="*", metavar="key.path=value")
        command.add_argument("--settings", type=Path, default=SETTINGS, help=f"default: {SETTINGS}")
        if name == "render":
            command.add_argument(
                "--check", action="store_true", help="only compare; 2: they differ"
            )
            command.add_argument("--to", type=Path, help="another folder than the settings' own")
    return parser


def _render(options: argparse.Namespace) -> int:
    from longspan.cluster.files import notes, require_rendered, write

    settings = load_settings(options.settings, options.overrides)
    folder = options.to or options.settings.parent
    if options.check:
        require_rendered(settings, folder)
        print(f"{folder}: as the settings say")
        return 0
    for path in write(settings, folder):
        print(path)
    _print_notes(notes(settings))
    return 0


def _cost(options: argparse.Namespace) -> int:
    from longspan.cluster.cost import cost_text, problems
    from longspan.recipe.load import load_recipe

    ours, recipes = _split(options.overrides)
    settings = load_settings(options.settings, ours)
    recipe = load_recipe(options.recipe, recipes)
    print(cost_text(recipe, settings))
    found = problems(recipe, settings)
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    return 2 if found else 0


def _prepare(options: argparse.Namespace) -> int:
    from longspan.cluster.account import Account
    from longspan.cluster.prepare import prepare

    settings = load_settings(options.settings, options.overrides)
    for line in prepare(settings, Account(settings.region)):
        print(line)
    return 0


def _check(options: argparse.Namespace) -> int:
    from longspan.cluster.account import Account
    from longspan.cluster.check import check
    from longspan.cluster.files import stale, tag_note

    settings = load_settings(options.settings, options.overrides)
    found = check(settings, Account(settings.region))
    # With overrides the files on disk are not meant.
    if not options.overrides and (message := stale(settings, options.settings.parent)):
        found.append(message)
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    _print_notes(tag_note(settings.kubernetes) if settings.kubernetes else [])
    if not found:
        print(f"{settings.cluster}: nothing found that would stop `ray up`")
    return 2 if found else 0


def _print_notes(found: Sequence[str]) -> None:
    for note in found:
        print(f"note: {note}", file=sys.stderr)


def _split(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those of the settings, by their first key, and the others, which are the recipe's."""
    ours = [
        each for each in overrides if each.partition("=")[0].split(".")[0] in Settings.model_fields
    ]
    return ours, [each for each in overrides if each not in ours]


if __name__ == "__main__":
    sys.exit(main())
