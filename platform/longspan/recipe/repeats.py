"""How often a run reads each of its sources: what is worth a note, and what no one can have meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longspan.recipe.shares import shares

if TYPE_CHECKING:
    from longspan.recipe.derive import RunPlan
    from longspan.recipe.schema import Recipe

USEFUL_PASSES = 4
"""Up to so many passes over the same tokens are nearly as good as new ones (arXiv 2305.16264)."""
ABSURD_PASSES = 100


@dataclass(frozen=True)
class SourceFacts:
    """Size of a source: exact once it is ingested, estimated before."""

    name: str
    objects: int | None
    bytes: int | None
    documents: int | None
    tokens: int | None
    exact: bool


@dataclass(frozen=True)
class _Passes:
    """One source, and how often a run reads it."""

    source: SourceFacts
    share: float
    passes: float

    def __str__(self) -> str:
        about = "" if self.source.exact else "about "
        return f"corpora.{self.source.name} ({about}{self.source.tokens:,} tokens) {about}{self.passes:,.0f} times"


def repeat_notes(recipe: Recipe, plan: RunPlan, sources: Sequence[SourceFacts]) -> list[str]:
    """A note on the sources that a run reads more often than is useful."""
    often = [each for each in _passes(recipe, plan, sources) if each.passes > USEFUL_PASSES]
    if not often:
        return []
    return [
        f"training.tokens: {plan.tokens:,} tokens read {', '.join(map(str, often))}; up to {USEFUL_PASSES} passes "
        f"are nearly as good as new data (arXiv 2305.16264). {_remedy(plan, often)}"
    ]


def absurd_repeats(recipe: Recipe, plan: RunPlan, sources: Sequence[SourceFacts]) -> str | None:
    """Why the default length can't be what is wanted; None where the recipe sets one, or the data is enough."""
    if recipe.training.tokens is not None or not recipe.has_known_tokens:
        return None
    absurd = [each for each in _passes(recipe, plan, sources) if each.passes > ABSURD_PASSES]
    if not absurd:
        return None
    return (
        f"training.tokens: unset, which means {plan.tokens:,} tokens, and these would read "
        f"{', '.join(map(str, absurd))}. {_remedy(plan, absurd)}"
    )


def _remedy(plan: RunPlan, passes: Sequence[_Passes]) -> str:
    """The number to set: of few passes over the source that is read most often."""
    most = max(passes, key=lambda each: each.passes)
    row = max(stage.length for stage in plan.stages)
    tokens = max(row, int(USEFUL_PASSES * (most.source.tokens or 0) / most.share))
    return f"For {USEFUL_PASSES} passes set training.tokens={tokens}, or add data"


def _passes(recipe: Recipe, plan: RunPlan, sources: Sequence[SourceFacts]) -> Iterator[_Passes]:
    if not recipe.has_known_tokens:
        return
    known = recipe.known_weights
    for weight, share, source in zip(known, shares(recipe.weights), sources, strict=True):
        if weight and source.tokens:
            yield _Passes(source, share, share * plan.tokens / source.tokens)
