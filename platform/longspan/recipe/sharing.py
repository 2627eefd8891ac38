"""Whether the workers of a recipe can share the rows of its model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longspan.errors import UserError
from longspan.parallel.limits import require_possible_degree, require_shareable

if TYPE_CHECKING:
    from longspan.model.facts import ModelFacts
    from longspan.recipe.derive import RunPlan
    from longspan.recipe.schema import Recipe


def require_shared_rows(recipe: Recipe, facts: ModelFacts, plan: RunPlan) -> None:
    """Refuse a degree of sequence parallelism that the model does not allow.

    Raises:
        UserError: its heads cannot be divided so, its layers pass information between tokens outside attention, or
            the implementation of attention takes no shared rows.
    """
    degree = recipe.workers.sequence_parallel
    if degree == 1:
        return
    lengths = [stage.length for stage in plan.stages]
    require_possible_degree(degree, facts.heads, facts.kv_heads, lengths)
    if plan.attention != "auto":
        require_shareable(plan.attention)
    if facts.mixing_layer is not None:
        raise UserError(
            f"workers.sequence_parallel: {facts.mixing_layer} layers of this {facts.model_type} model pass "
            "information from token to token outside attention, so its rows cannot be divided among workers; set "
            "workers.sequence_parallel=1, or use another base model (docs/models.md)"
        )
    if not facts.shares_rows:
        raise UserError(
            f"workers.sequence_parallel: the losses of a tiny model of this {facts.model_type} architecture change "
            "when its rows are divided among workers; set workers.sequence_parallel=1, or use another base model "
            "(docs/models.md)"
        )
