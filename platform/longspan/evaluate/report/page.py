"""The report of an evaluation as one HTML page, which works from a file and loads nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from longspan.evaluate.report.differences import forest
from longspan.evaluate.report.excerpts import DEFAULT_EXCERPTS, Excerpts, sample_tasks
from longspan.evaluate.report.figures import Windows, score_figure, scores_by_length
from longspan.evaluate.report.html import REPORT, render
from longspan.evaluate.report.losses import loss_views
from longspan.evaluate.report.numbers import STATUS_WORDS, anchor
from longspan.evaluate.report.paper import LAWS
from longspan.evaluate.report.suites import SUITE_SIZES, first_sentence_rows, suite_groups
from longspan.evaluate.report.svg import inline_svg
from longspan.evaluate.report.tables import heat_maps, score_table
from longspan.evaluate.report.verdict import headline, judged_window
from longspan.evaluate.results import ModelInfo, ReportedEngine, Results, SampleRecord

if TYPE_CHECKING:
    from markupsafe import Markup

SECTIONS = {
    "verdict": "Verdict",
    "scores": "Scores by length",
    "depths": "Scores by depth and length",
    "losses": "Loss and use of context",
    "differences": "Paired differences",
    "suites": "Standard suites",
    "samples": "Samples",
    "provenance": "Provenance",
    "notes": "What each number means",
}
"""Title of each section by its id, in order."""


@dataclass(frozen=True)
class Panel:
    """One small figure."""

    title: str
    svg: Markup


def write_report(
    results: Results,
    samples: Mapping[str, Sequence[SampleRecord]],
    excerpts: Excerpts = DEFAULT_EXCERPTS,
) -> str:
    """Return the report as HTML; equal arguments give equal bytes.

    Replies and prompts are untrusted: they are escaped, and the page's content security policy allows no script
    and no style but the page's own.

    Args:
        results: what was measured; a part that is absent is shown as not measured.
        samples: by task, all or some of the samples behind the results.
        excerpts: how much of the samples is shown.
    """
    windows = Windows.of(results)
    shown = sample_tasks(samples, excerpts)
    return render(
        REPORT,
        results=results,
        sections=SECTIONS,
        words=STATUS_WORDS,
        headline=headline(results.verdict) if results.verdict else "",
        window=judged_window(results.model),
        scores=score_table(results.tasks),
        score_panels=_score_panels(results, windows),
        maps=heat_maps(results.tasks),
        anchors={cell.anchor for task in shown for cell in task.cells},
        losses=loss_views(results, windows),
        laws=LAWS,
        forest=forest(results.comparison) if results.comparison else None,
        suites=suite_groups(results),
        sizes=SUITE_SIZES,
        first_sentence=first_sentence_rows(results),
        samples=shown,
        provenance=provenance(results),
        reference_name=results.reference.name if results.reference else "",
        windows=windows,
    )


def provenance(results: Results) -> dict[str, dict[str, str]]:
    """Facts that are needed to repeat the evaluation, as titles with names and values."""
    given = results.provenance
    parts = {"Evaluated model": _model(results.model)}
    if results.reference:
        parts["Reference"] = _model(results.reference)
    parts["Evaluation"] = {
        "code": given.code,
        "seed": str(given.seed),
        "samples": f"{given.samples:,} for each task and length",
        "lengths": ", ".join(f"{length:,}" for length in given.lengths),
        "depths": str(given.depths),
        "base window": "unknown" if given.base_window is None else f"{given.base_window:,}",
        "documents": _pairs({name: f"{count:,}" for name, count in given.documents.items()}),
        "documents' hash": given.documents_hash,
        "engine": _pairs(given.engine),
    }
    for key, engines in given.reported.items():
        for number, engine in enumerate(engines, 1):
            title = f"Reported by the engine of the {key}"
            parts[f"{title} ({number})" if len(engines) > 1 else title] = _reported(engine)
    parts["Versions"] = dict(sorted(given.packages.items()))
    return parts


def _model(model: ModelInfo) -> dict[str, str]:
    return {
        "name": model.name,
        "identity": model.identity,
        "window": judged_window(model),
        "positions": _pairs(model.rope) or "unknown",
        "type": model.dtype,
        "chat template": "used" if model.template == "chat" else "none",
        "tokenizer": model.tokenizer,
    }


def _reported(engine: ReportedEngine) -> dict[str, str]:
    return {
        "vLLM": engine.vllm or "unknown",
        "window": "unknown" if engine.window is None else f"{engine.window:,}",
        "positions": _pairs(engine.rope) or "unknown",
        "type": engine.dtype or "unknown",
        "hashes of tokens": _pairs(engine.tokens) or "unknown",
        "not checked": "; ".join(engine.unchecked) or "nothing",
    }


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value, sort_keys=True)}"
        for name, value in values.items()
    )


def _score_panels(results: Results, windows: Windows) -> list[Panel]:
    references = {task.task: task for task in results.reference_tasks}
    panels = []
    for task in results.tasks:
        if scores_by_length(task):
            figure, label = score_figure(task, references.get(task.task), windows)
            svg = inline_svg(figure, anchor("score", task.task), label)
            panels.append(Panel(task.task, svg))
    return panels
