"""Arguments that all jobs have: a recipe, values to change, and two ways to check before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from longspan.cli.packaged import recipe_path

Function = TypeVar("Function", bound=Callable[..., Any])

EXAMPLES = """
Examples:
  {program}                                        the quickstart recipe
  {program} my.yaml --plan                         what it will do and cost, and why
  {program} my.yaml storage.root=s3://bucket/runs  one value changed
  {program} my.yaml corpora.books.weight=0.6 corpora.code.weight=0.4 workers=8

A value is YAML (2e-5, true, [a, b], {length: 4096}). The keys are those of the recipe: `longspan recipes list` names
commented ones, and an unknown key is answered with the nearest known one.
"""


class Word(click.ParamType):
    """A recipe's file, or one ``key.path=value``."""

    name = "word"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete file names; keys are not completed."""
        return [CompletionItem(incomplete, type="file")]


def words(function: Function) -> Function:
    """Add the recipe and its overrides to a command, as `words`."""
    return click.argument("words", nargs=-1, type=Word(), metavar="[RECIPE] [KEY.PATH=VALUE]...")(
        function
    )


def job_options(function: Function) -> Function:
    """Add what all jobs have to a command, as `words`, `validate` and `plan`."""
    for option, text in (
        ("--plan", "Print every derived value with its reason, start nothing."),
        ("--validate", "Check everything that can be checked, start nothing."),
    ):
        function = click.option(option, is_flag=True, help=text)(function)
    return words(function)


def split_words(words: tuple[str, ...], default: str) -> tuple[Path, tuple[str, ...]]:
    """Return the recipe and the overrides among the words that were typed.

    Args:
        words: in any order.
        default: name of the packaged recipe that is used where none is named.

    Raises:
        UsageError: there are several recipes.
    """
    files = [word for word in words if "=" not in word]
    if len(files) > 1:
        raise click.UsageError(f"one recipe at a time, not {' and '.join(files)}")
    overrides = tuple(word for word in words if "=" in word)
    return Path(files[0]) if files else recipe_path(default), overrides
