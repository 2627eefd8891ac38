"""Output of ``--validate`` and ``--plan`` of the jobs that train and ingest."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from longspan.config.locations import relative_root_note
from longspan.train.data.corpora import check_ingest
from longspan.train.prepare import check, plan_text

if TYPE_CHECKING:
    from longspan.recipe.schema import Recipe


def print_validation(recipe: Recipe) -> int:
    """Say that a recipe is good; problems are raised."""
    check(recipe)
    print(
        f"{recipe.name}: the recipe is valid, its model, tokenizer and {len(recipe.corpora)} sources are there"
    )
    _print_root_note(recipe)
    return 0


def print_ingest_validation(recipe: Recipe) -> int:
    """Say that a recipe's corpora can be ingested; problems are raised."""
    check_ingest(recipe)
    print(
        f"{recipe.name}: the recipe is valid, its tokenizer and {len(recipe.corpora)} sources are there"
    )
    _print_root_note(recipe)
    return 0


def _print_root_note(recipe: Recipe) -> None:
    if note := relative_root_note(recipe):
        print(f"note: {note}")


def print_plan(recipe: Recipe) -> int:
    """Print the plan, then what stands in the way of running it; status 2 if anything does."""
    text, problems = plan_text(recipe)
    print(text)
    _print_root_note(recipe)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 2 if problems else 0
