"""The command line that all jobs share: a recipe, overrides, and two ways to look before leaping."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_EXAMPLES = """
examples:
  {program}                                        the quickstart recipe
  {program} my.yaml --plan                         what it will do and cost, and why
  {program} my.yaml storage.root=s3://bucket/runs  one value changed
  {program} my.yaml corpora.books.weight=0.6 corpora.code.weight=0.4 workers=8

A value is YAML (2e-5, true, [a, b], {{length: 4096}}). The keys are those of the recipe: jobs/recipes has
commented ones, and an unknown key is answered with the nearest known one.
"""


@dataclass(frozen=True)
class Options:
    """What was typed."""

    recipe: Path
    overrides: tuple[str, ...]
    validate: bool
    plan: bool


def parse_options(
    arguments: Sequence[str], program: str, purpose: str, default: Path, examples: str = _EXAMPLES
) -> Options:
    """Read the command line; exits with status 2 and a message where it is malformed.

    `examples` end the help; {program} in them is what was typed.
    """
    parser = options_parser(program, purpose, default, examples)
    return read_options(parser, parser.parse_intermixed_args(arguments), default)


def options_parser(
    program: str, purpose: str, default: Path, examples: str = _EXAMPLES
) -> argparse.ArgumentParser:
    """Return a parser of the options that all jobs have; a job may add its own."""
    parser = argparse.ArgumentParser(
        prog=program,
        description=purpose,
        epilog=examples.format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", nargs="?", help=f"YAML file (default: {default.name})")
    parser.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="change one value of the recipe"
    )
    parser.add_argument(
        "--validate",
        action="store_true",
        help="check everything that can be checked, start nothing",
    )
    parser.add_argument(
        "--plan",
        action="store_true",
        help="print every derived value with its reason, start nothing",
    )
    return parser


def read_options(
    parser: argparse.ArgumentParser, found: argparse.Namespace, default: Path
) -> Options:
    """Return the options that all jobs have, of a command line that `options_parser` has parsed."""
    words = [word for word in (found.recipe, *found.overrides) if word is not None]
    files = [word for word in words if "=" not in word]
    if len(files) > 1:
        parser.error(f"one recipe at a time, not {' and '.join(files)}")
    overrides = tuple(word for word in words if "=" in word)
    return Options(Path(files[0]) if files else default, overrides, found.validate, found.plan)
