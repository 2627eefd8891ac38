"""Losses of one corpus as the report shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longspan.evaluate.report.figures import Windows, context_figure, position_figure
from longspan.evaluate.report.numbers import anchor
from longspan.evaluate.report.svg import inline_svg
from longspan.evaluate.results import Estimate, LossResult, Results

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class LossRow:
    """One measure of the use of context."""

    name: str
    estimates: tuple[Estimate | None, ...]
    """Of the model, and of the reference if there is one."""
    missing: str = "not measured"


@dataclass(frozen=True)
class LossView:
    """Losses of one corpus, or of all."""

    title: str
    position: Markup | None
    """SVG; None if it was not measured."""
    context: Markup | None
    has_reference: bool
    rows: tuple[LossRow, ...]
    problems: tuple[str, ...]


def loss_views(results: Results, windows: Windows) -> list[LossView]:
    """Views of all corpora, all together first."""
    references = {result.corpus: result for result in results.reference_losses}
    ordered = sorted(results.losses, key=lambda r: (r.corpus is not None, r.corpus or ""))
    return [_view(result, references.get(result.corpus), windows) for result in ordered]


def _view(result: LossResult, reference: LossResult | None, windows: Windows) -> LossView:
    name = anchor("loss", result.corpus or "all")
    position = context = None
    if result.by_position:
        figure, label = position_figure(result, reference, windows)
        position = inline_svg(figure, f"{name}-position", label)
    if result.by_context:
        figure, label = context_figure(result, reference, windows)
        context = inline_svg(figure, f"{name}-context", label)
    both = [result] if reference is None else [result, reference]
    return LossView(
        title="All corpora" if result.corpus is None else result.corpus,
        position=position,
        context=context,
        has_reference=reference is not None,
        rows=tuple(_rows(both)),
        problems=tuple(_problems(both)),
    )


def _rows(results: Sequence[LossResult]) -> list[LossRow]:
    laws = [result.power_law for result in results]
    missing = "not identifiable" if any(law and law.problem for law in laws) else "not measured"
    parameters = [
        LossRow(name, tuple(getattr(law, name) if law else None for law in laws), missing)
        for name in ("alpha", "beta", "gamma")
    ]
    return [
        LossRow(
            "gain of the last doubling (nats)",
            tuple(result.last_doubling_gain for result in results),
        ),
        LossRow("rise by a far swap (nats)", tuple(result.far_swap for result in results)),
        LossRow("key-token perplexity", tuple(result.key_token_perplexity for result in results)),
        *parameters,
    ]


def _problems(results: Sequence[LossResult]) -> list[str]:
    return [
        f"Power law of {name}: {result.power_law.problem}."
        for name, result in zip(("this model", "the reference"), results, strict=False)
        if result.power_law and result.power_law.problem
    ]
