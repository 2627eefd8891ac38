"""What a driver prints, and its exit status: 0 done, 1 failed, 2 the user's to mend, 130 interrupted."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from longspan.addresses import redacted
from longspan.errors import user_error_in

if TYPE_CHECKING:
    from longspan.pipeline.stages import Stage
    from longspan.recipe.schema import Recipe


def run(main: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Run a driver; the user's own mistakes become one clear message instead of a traceback."""
    if isinstance(sys.stdout, TextIOWrapper):
        # Through a pipe or into a file Python would keep lines back, and a killed driver's last ones for ever.
        sys.stdout.reconfigure(line_buffering=True)
    try:
        return main(arguments)
    except KeyboardInterrupt:
        print(
            "\nInterrupted. What was finished is kept; re-run the same command to resume.",
            file=sys.stderr,
        )
        return 130
    except Exception as error:
        if mistake := user_error_in(error):
            print(f"error: {mistake}", file=sys.stderr)
            return 2
        if death := _death_in(error):
            print(f"failed: {death}; re-run the same command to resume", file=sys.stderr)
        else:
            print(redacted(traceback.format_exc()), file=sys.stderr)
        return 1


def _death_in(error: Exception) -> str | None:
    """A process of the job that has died, if that is the error; Ray is not imported for other commands."""
    if "ray" not in sys.modules:
        return None
    from longspan.run.deaths import death_in

    return death_in(error)


def print_validation(recipe: Recipe) -> int:
    """Say that a recipe is good; problems are raised."""
    from longspan.train.prepare import check

    check(recipe)
    print(
        f"{recipe.name}: the recipe is valid, its model, tokenizer and {len(recipe.corpora)} sources are there"
    )
    _print_root_note(recipe)
    return 0


def print_ingest_validation(recipe: Recipe) -> int:
    """Say that a recipe's corpora can be ingested; problems are raised."""
    from longspan.train.data import check_ingest

    check_ingest(recipe)
    print(
        f"{recipe.name}: the recipe is valid, its tokenizer and {len(recipe.corpora)} sources are there"
    )
    _print_root_note(recipe)
    return 0


def _print_root_note(recipe: Recipe) -> None:
    from longspan.recipe.sources import relative_root_note

    if note := relative_root_note(recipe):
        print(f"note: {note}")


def print_stages(stages: Sequence[Stage], root: Path) -> int:
    """Print what a pipeline would do: each stage, whether it is done, and its command.

    Args:
        stages: of one pipeline.
        root: the checkout, in which `jobs` lies.
    """
    from longspan.pipeline.run import command_line

    for number, stage in enumerate(stages, 1):
        done = f"done: {stage.store.uri(stage.output)}" if stage.is_done() else "to be run"
        print(f"{number}. {stage.name:<14} {stage.recipe.name:<24} {done}")
        print(f"   {command_line(stage, root)}")
    print("Each command takes --plan, which prints what that stage will do.")
    return 0


def print_plan(recipe: Recipe) -> int:
    """Print the plan, then what stands in the way of running it; status 2 if anything does."""
    from longspan.train.prepare import plan_text

    text, problems = plan_text(recipe)
    print(text)
    _print_root_note(recipe)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 2 if problems else 0
