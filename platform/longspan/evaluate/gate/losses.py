"""Items of the gate on losses: short contexts are as good as before, and long ones are used."""

from __future__ import annotations

from collections.abc import Callable

from longspan.evaluate.gate.findings import Finding, Rule, above, below, item, unknown
from longspan.evaluate.gate.thresholds import Thresholds
from longspan.evaluate.results import Estimate, LossChange, LossResult, Results, VerdictItem


def short_loss_retained(results: Results, thresholds: Thresholds) -> VerdictItem:
    """Relative change of the loss against the reference, at every context up to the base window."""
    window = _base_window(results)
    missing = f"no losses of the reference on the same tokens at contexts up to {window:,}"
    rule = Rule(
        "short_loss_retained",
        "own choice: within the differences of table 5 of arXiv 2309.16039",
        _missing(results, missing) if results.reference else missing,
    )
    changes = [each for each in _loss_changes(results) if each.context <= window]
    findings = [below(each.change, thresholds.short_loss, _change_case(each)) for each in changes]
    return item(rule, findings)


def context_gain(results: Results, thresholds: Thresholds) -> VerdictItem:
    """Fall of the loss at the last doubling of the context."""
    rule = Rule(
        "context_gain",
        "matched targets (arXiv 2109.09115): more context lowers the loss of the same tokens",
        _missing(results, "no losses at two lengths of context"),
    )
    findings = _positive(results, thresholds, lambda loss: loss.last_doubling_gain, "last doubling")
    return item(rule, findings, notes=_left_out(results) if findings else "")


def far_context_used(results: Results, thresholds: Thresholds) -> VerdictItem:
    """Rise of the loss when the far half of the context is another document's."""
    rule = Rule(
        "far_context_used",
        "perturbed far context (arXiv 2109.09115): another document there raises the loss",
        _missing(results, "no losses with a swapped far context"),
    )
    findings = _positive(results, thresholds, lambda loss: loss.far_swap, "far half swapped")
    return item(rule, findings, notes=_left_out(results) if findings else "")


def _positive(
    results: Results,
    thresholds: Thresholds,
    measure: Callable[[LossResult], Estimate | None],
    name: str,
) -> list[Finding]:
    findings = []
    for loss in _all_or_each(results):
        value = measure(loss)
        if value is None:
            continue
        case = f"{loss.corpus or 'all corpora'}, {name}: {_nats(value)}"
        longest = max((point.last for point in loss.by_context), default=0)
        if longest < thresholds.reach * results.model.window:
            case += f", at a context of {longest:,} of a window of {results.model.window:,} tokens"
            findings.append(unknown(0.0, case))
        else:
            findings.append(above(value, 0.0, case))
    return findings


def _missing(results: Results, otherwise: str) -> str:
    """Why there are no losses by context: no document is long enough, or another reason."""
    losses = _all_or_each(results)
    too_short = sum(loss.too_short for loss in losses)
    if not too_short or any(loss.by_context for loss in losses):
        return otherwise
    return (
        f"no document has the {results.model.window:,} tokens of the window; all {too_short:,} are shorter: add longer "
        "ones to corpora, or set a shorter window"
    )


def _left_out(results: Results) -> str:
    too_short = sum(loss.too_short for loss in _all_or_each(results))
    return f"documents shorter than the window are left out: {too_short:,}" if too_short else ""


def _all_or_each(results: Results) -> list[LossResult]:
    together = [loss for loss in results.losses if loss.corpus is None]
    return together or results.losses


def _loss_changes(results: Results) -> list[LossChange]:
    changes = results.comparison.loss_changes if results.comparison else []
    together = [each for each in changes if each.corpus is None]
    return together or changes


def _base_window(results: Results) -> int:
    reference = results.reference.window if results.reference else results.model.window
    return results.provenance.base_window or reference


def _change_case(each: LossChange) -> str:
    change = each.change
    interval = f"{100 * change.value:+.2f} % [{100 * change.low:+.2f}, {100 * change.high:+.2f}]"
    return f"{each.corpus or 'all corpora'} at a context of {each.context:,}: {interval}"


def _nats(value: Estimate) -> str:
    return f"{value.value:+.4f} nats [{value.low:+.4f}, {value.high:+.4f}]"
