"""Recipes and configs that are part of the package (`longspan/recipes`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import longspan
from longspan.errors import UserError

RECIPES = Path(longspan.__file__).parent / "recipes"


def recipe_names() -> Iterator[str]:
    """Names of the packaged files, such as ``sft/quickstart``, in the order of the alphabet."""
    for path in sorted(RECIPES.rglob("*.yaml"), key=lambda path: (len(path.parts), path)):
        yield path.relative_to(RECIPES).with_suffix("").as_posix()


def recipe_path(name: str) -> Path:
    """Return the file of a packaged recipe.

    Args:
        name: as `recipe_names` has it; ``.yaml`` may follow.

    Raises:
        UserError: there is none of this name.
    """
    names = list(recipe_names())
    asked = name.removesuffix(".yaml")
    if asked not in names:
        raise UserError(
            f"recipe: there is no packaged recipe {name!r}; there are: {', '.join(names)}"
        )
    return RECIPES / f"{asked}.yaml"
