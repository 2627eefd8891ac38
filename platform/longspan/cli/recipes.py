"""Command `recipes`: the packaged recipes and configs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from longspan.cli.exit_codes import ExitCode
from longspan.cli.help import Group
from longspan.cli.packaged import RECIPES, recipe_names, recipe_path
from longspan.errors import UserError

EXAMPLES = """
Examples:
  {program} list
  {program} copy llama3-8b-64k my.yaml       then: longspan pretrain my.yaml --plan
  {program} copy pipeline/quickstart my.yaml    with the recipes of its stages beside it: my-pretrain.yaml, ...
"""
COMMENT = re.compile(r"^# ?(.*)$", re.MULTILINE)
STAGE_RECIPE = re.compile(r"recipe: (\.\./[\w/.-]+\.yaml)")
"""Recipe of a stage in a packaged pipeline."""


@click.group(cls=Group, examples=EXAMPLES)
def recipes() -> None:
    """Recipes and configs that are part of the package."""


@recipes.command("list")
def list_recipes() -> int:
    """Print each packaged file: its name, the command that takes it, and what it is for."""
    from longspan.config.file_kinds import kind_of
    from longspan.config.yaml_text import load_yaml

    rows = []
    for name in recipe_names():
        text = recipe_path(name).read_text(encoding="utf-8")
        kind = kind_of(load_yaml(text))
        assert kind is not None, f"{name} is a file of no known kind"
        rows.append((name, kind.command.split("{")[0].split("--")[0].strip(), _purpose(text)))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, command, purpose in rows:
        print(f"{name:<{widths[0]}}  {command:<{widths[1]}}  {purpose}")
    return ExitCode.OK


@recipes.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
def copy(name: str, file: Path) -> int:
    """Write the packaged recipe NAME to a new FILE, to be changed."""
    copies = dict(_copies(recipe_path(name), file))
    for target in copies:
        if target.exists():
            raise UserError(f"FILE: {target} exists; give a new file")
    for target, text in copies.items():
        try:
            target.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"FILE: {target} cannot be written ({error.strerror}); give another one"
            ) from None
        print(target)
    return ExitCode.OK


def _copies(recipe: Path, target: Path) -> Iterator[tuple[Path, str]]:
    """Files to write: a recipe, and before it those that it names by a path relative to itself."""
    text = recipe.read_text(encoding="utf-8")
    for reference in dict.fromkeys(STAGE_RECIPE.findall(text)):
        source = (recipe.parent / reference).resolve()
        stem = source.relative_to(RECIPES.resolve()).with_suffix("").as_posix().replace("/", "-")
        beside = target.with_name(f"{target.stem}-{stem}.yaml")
        yield beside, source.read_text(encoding="utf-8")
        text = text.replace(f"recipe: {reference}", f"recipe: {beside.name}")
    yield target, text


def _purpose(text: str) -> str:
    """The first sentence of the comment at a recipe's top."""
    comment = " ".join(COMMENT.findall(text.partition("\n\n")[0]))
    return re.split(r"(?<=[.:])\s", comment, maxsplit=1)[0].rstrip(":")
