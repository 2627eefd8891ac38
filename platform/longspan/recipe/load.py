"""Recipes of training from YAML files and dotted overrides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longspan.config.file_kinds import is_finetuning
from longspan.config.load import load, parse, read_file
from longspan.recipe.schema import Recipe
from longspan.recipe.sft import SftRecipe


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe of continual pretraining."""
    return load(Recipe, path, overrides)


def load_training(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe of continual pretraining or of supervised finetuning, whichever it is."""
    schema = SftRecipe if is_finetuning(read_file(path, Recipe.kind)) else Recipe
    return load(schema, path, overrides)


def parse_recipe(data: dict[str, Any]) -> Recipe:
    """Validate plain data as a recipe of continual pretraining."""
    return parse(Recipe, data)
