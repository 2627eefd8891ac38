"""Items of the acceptance gate that a recipe can't measure, found before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from longspan.evaluate.gate.probes import BEYOND_LITERAL, NEAR_USE, counts_for_recall
from longspan.evaluate.gate.short_tasks import GROUP
from longspan.evaluate.gate.thresholds import ItemName
from longspan.evaluate.prepare import Prepared


@dataclass(frozen=True)
class Gap:
    """An item that stays unmeasured.

    Attributes:
        item: of the gate.
        reason: what the recipe lacks, with its key.
        is_required: whether a verdict of pass is then impossible.
    """

    item: ItemName
    reason: str
    is_required: bool

    def __str__(self) -> str:
        """Return it as a line for a person."""
        effect = "required, so the verdict can't be pass" if self.is_required else "not required"
        return f"gate: {self.item} can't be measured: {self.reason} ({effect})"


def gate_gaps(prepared: Prepared) -> list[Gap]:
    """Return the items that an evaluation can't measure, those that are required first."""
    required = prepared.recipe.gate.required
    gaps = [Gap(item, reason, item in required) for item, reason in _gaps(prepared)]
    return sorted(gaps, key=lambda gap: not gap.is_required)


def _gaps(prepared: Prepared) -> Iterator[tuple[ItemName, str]]:
    recipe, families = prepared.recipe, {task.family for task in prepared.tasks}
    no_reference = None if prepared.reference else "reference is unset"
    no_losses = None if recipe.losses.documents else "losses.documents is 0"
    no_suite = None
    if all(suite.name != GROUP for suite in recipe.suites):
        no_suite = f"suites has none that is named {GROUP!r}"
    if reason := no_reference or no_suite:
        yield "short_tasks_retained", reason
    if reason := no_reference or no_losses:
        yield "short_loss_retained", reason
    if not any(counts_for_recall(each.name, each.family, each.scoring) for each in prepared.tasks):
        yield "recall", "probes.tasks has none of ruler"
    if missing := [family for family in BEYOND_LITERAL if family not in families]:
        names = {"association": "association", "reasoning": "stories"}
        yield "beyond_literal", f"probes.tasks lacks {', '.join(names[each] for each in missing)}"
    if no_losses:
        yield "context_gain", no_losses
        yield "far_context_used", no_losses
    if families.isdisjoint(NEAR_USE):
        yield "no_drop_to_window", "probes.tasks lacks many_shot, and probes.files is empty"
    if recipe.own_documents is None:
        yield "own_documents_used", "own_documents is unset"
        yield "own_documents_everywhere", "own_documents is unset"
