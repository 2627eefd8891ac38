"""Judges results by the items of the gate."""

from __future__ import annotations

from collections.abc import Callable

from longspan.evaluate.gate.losses import context_gain, far_context_used, short_loss_retained
from longspan.evaluate.gate.own_documents import own_documents_everywhere, own_documents_used
from longspan.evaluate.gate.probes import beyond_literal, no_drop_to_window, recall
from longspan.evaluate.gate.short_tasks import short_tasks_retained
from longspan.evaluate.gate.thresholds import LOSS_ITEMS, Thresholds
from longspan.evaluate.results import Results, Verdict, VerdictItem

ITEMS: tuple[Callable[[Results, Thresholds], VerdictItem], ...] = (
    short_tasks_retained,
    short_loss_retained,
    recall,
    beyond_literal,
    context_gain,
    far_context_used,
    no_drop_to_window,
    own_documents_used,
    own_documents_everywhere,
)


def judge(results: Results, thresholds: Thresholds) -> Verdict:
    """Return the verdict on a model, item by item.

    An item passes or fails if its interval is wholly on one side of its threshold, and is inconclusive otherwise. A
    prompt within the window that got no reply fails the item of its task. Lengths beyond the window do not count.

    Fail if an item fails; else inconclusive if an item is, if a required one was not measured, or if nothing but
    losses was measured; else pass.
    """
    items = [_noted(judged(results, thresholds), thresholds) for judged in ITEMS]
    measured = {each.name for each in items if each.status != "not_measured"}
    if measured and measured <= LOSS_ITEMS:
        items.append(_only_losses())
    statuses = {each.status for each in items}
    missing = set(thresholds.required) - measured
    if "fail" in statuses:
        return Verdict(status="fail", items=items)
    if "inconclusive" in statuses or missing or not measured:
        return Verdict(status="inconclusive", items=items)
    return Verdict(status="pass", items=items)


def _noted(found: VerdictItem, thresholds: Thresholds) -> VerdictItem:
    """State in the detail that a missing item is required."""
    if found.status != "not_measured" or found.name not in thresholds.required:
        return found
    return found.model_copy(update={"detail": f"required, but not measured: {found.detail}"})


def _only_losses() -> VerdictItem:
    return VerdictItem(
        name="more_than_loss",
        status="inconclusive",
        source="arXiv 2309.16039, figure 9: the loss stays low at lengths where retrieval has failed",
        detail="only losses were measured, and a low loss does not show that long contexts are used",
    )
