"""Notes of a plan: values that are allowed, and that a user may not have meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longspan.model.facts import ModelFacts
    from longspan.order.order import Stage
    from longspan.recipe.schema import Recipe


def notes_of(recipe: Recipe, facts: ModelFacts, stages: tuple[Stage, ...]) -> list[str]:
    """Notes of a plan, as lines to print."""
    notes = (
        _untrained_positions(recipe, stages),
        _surplus_workers(recipe, stages),
        _limited_attention(recipe, facts),
    )
    return [note for note in notes if note]


def _untrained_positions(recipe: Recipe, stages: tuple[Stage, ...]) -> str | None:
    longest = max(stage.length for stage in stages)
    if longest == recipe.target_context:
        return None
    return (
        f"lengths: no row is longer than {longest:,} tokens, so positions up to the window of "
        f"{recipe.target_context:,} are stated but never trained; fine for a trial, not for a model to use"
    )


def _surplus_workers(recipe: Recipe, stages: tuple[Stage, ...]) -> str | None:
    workers, sharing = recipe.workers.max, recipe.workers.sequence_parallel
    if recipe.training.tokens_per_update is None and not recipe.has_known_tokens:
        return None
    stage = min(stages, key=lambda stage: stage.rows_per_update)
    rows = stage.rows_per_update
    busy = rows * sharing
    if workers <= busy:
        return None
    shared = f", each shared by {sharing}" if sharing > 1 else ""
    return (
        f"workers: an update has {rows:,} row{'s' if rows > 1 else ''} of {stage.length:,} tokens{shared}, "
        f"so {workers - busy:,} of the {workers:,} workers compute nothing but padding; "
        f"use at most {busy:,}, or raise training.tokens_per_update"
    )


def _limited_attention(recipe: Recipe, facts: ModelFacts) -> str | None:
    limit = facts.sliding_window
    if limit is None or limit >= recipe.target_context:
        return None
    return (
        f"base_model: this model's attention is limited to {limit:,} tokens in at least one layer; "
        f"a target_context of {recipe.target_context:,} does not widen that (sliding_window in its config.json)"
    )
