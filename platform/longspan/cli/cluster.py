"""Command `cluster`: the cluster on AWS that `ray up cluster/aws.yaml` makes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from longspan.cli.exit_codes import ExitCode
from longspan.cli.help import Group

EXAMPLES = """
Examples:
  {program} render                             aws.yaml and the IAM policies, from settings.yaml
  {program} cost jobs/recipes/llama3-8b-64k.yaml pools.training.type=p5en.48xlarge
  {program} prepare                            roles, instance profiles and the security group, in AWS
  {program} check                              what AWS has against it, before `ray up` finds out

Values are those of cluster/settings.yaml (of the recipe too, for cost); docs/cluster.md explains them.
"""
SETTINGS = "cluster/settings.yaml"
Function = TypeVar("Function", bound=Callable[..., Any])


def settings_options(function: Function) -> Function:
    """Add the settings and values to change to a command, as `settings` and `overrides`."""
    function = click.option(
        "--settings",
        type=click.Path(path_type=Path),
        default=Path(SETTINGS),
        show_default=True,
        help="Settings of the cluster.",
    )(function)
    return click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")(function)


@click.group(cls=Group, examples=EXAMPLES)
def cluster() -> None:
    """The cluster on AWS that `ray up cluster/aws.yaml` makes."""


@cluster.command()
@settings_options
@click.option("--check", is_flag=True, help="Only compare; exit status 2: they differ.")
@click.option(
    "--to", type=click.Path(path_type=Path), help="Another folder than the settings' own."
)
def render(overrides: tuple[str, ...], settings: Path, check: bool, to: Path | None) -> int:
    """Write what `ray up` and IAM read."""
    from longspan.cluster.files import notes, require_rendered, write
    from longspan.cluster.settings import load_settings

    loaded = load_settings(settings, overrides)
    folder = to or settings.parent
    if check:
        require_rendered(loaded, folder)
        print(f"{folder}: as the settings say")
        return ExitCode.OK
    for path in write(loaded, folder):
        print(path)
    _print_notes(notes(loaded))
    return ExitCode.OK


@cluster.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@settings_options
def cost(recipe: Path, overrides: tuple[str, ...], settings: Path) -> int:
    """Dollars an hour and for a recipe's run; asks nobody."""
    from longspan.cluster.cost import cost_text, problems
    from longspan.cluster.schema import Settings
    from longspan.cluster.settings import load_settings
    from longspan.recipe.load import load_recipe

    ours = [
        each for each in overrides if each.partition("=")[0].split(".")[0] in Settings.model_fields
    ]
    loaded = load_settings(settings, ours)
    run = load_recipe(recipe, [each for each in overrides if each not in ours])
    print(cost_text(run, loaded))
    return _print_problems(problems(run, loaded))


@cluster.command()
@settings_options
def prepare(overrides: tuple[str, ...], settings: Path) -> int:
    """Create or update roles, instance profiles and the security group (asks AWS)."""
    from longspan.cluster.account import Account
    from longspan.cluster.prepare import prepare as prepare_account
    from longspan.cluster.settings import load_settings

    loaded = load_settings(settings, overrides)
    for line in prepare_account(loaded, Account(loaded.region)):
        print(line)
    return ExitCode.OK


@cluster.command()
@settings_options
def check(overrides: tuple[str, ...], settings: Path) -> int:
    """Look for what would stop `ray up` (asks AWS, changes nothing)."""
    from longspan.cluster.account import Account
    from longspan.cluster.check import check as check_account
    from longspan.cluster.files import stale, tag_note
    from longspan.cluster.settings import load_settings

    loaded = load_settings(settings, overrides)
    found = check_account(loaded, Account(loaded.region))
    # With overrides the files on disk are not meant.
    if not overrides and (message := stale(loaded, settings.parent)):
        found.append(message)
    status = _print_problems(found)
    _print_notes(tag_note(loaded.kubernetes) if loaded.kubernetes else [])
    if not found:
        print(f"{loaded.cluster}: nothing found that would stop `ray up`")
    return status


def _print_problems(found: Sequence[str]) -> ExitCode:
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    return ExitCode.USER_ERROR if found else ExitCode.OK


def _print_notes(found: Sequence[str]) -> None:
    for note in found:
        print(f"note: {note}", file=sys.stderr)
