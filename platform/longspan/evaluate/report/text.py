"""Summary of an evaluation for a terminal, 100 columns wide."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from longspan.evaluate.report.numbers import (
    STATUS_WORDS,
    number,
    number_interval,
    tokens,
)
from longspan.evaluate.report.tables import ScoreCell, ScoreTable, score_table
from longspan.evaluate.report.verdict import condition, headline, judged_window
from longspan.evaluate.results import Results, Verdict
from longspan.observe.tables import table

COLUMNS = 100
KEY = (
    "Percent with the 95 % interval; * at least the task's threshold; n/s: prompts without a score."
)


def summary(results: Results) -> str:
    """Return verdict and scores by length as plain text."""
    title = f"{results.name}: {results.model.name}, {judged_window(results.model)}"
    verdict = verdict_text(results.verdict) if results.verdict else "verdict: not measured"
    scores = scores_text(score_table(results.tasks)) if results.tasks else "scores: not measured"
    return "\n\n".join((title, verdict, scores))


def verdict_text(verdict: Verdict) -> str:
    """Return the conditions of a verdict as a table, and what was compared in each."""
    rows = [
        (
            condition(item.name),
            STATUS_WORDS[item.status],
            number(item.value),
            number_interval(item.low, item.high),
            number(item.threshold),
        )
        for item in verdict.items
    ]
    lines = [f"verdict: {STATUS_WORDS[verdict.status]} ({headline(verdict)})"]
    if rows:
        header = ("condition", "result", "value", "95 % interval", "threshold")
        stated, *shown = table(rows, header).splitlines()
        lines += ["", stated]
        for item, line in zip(verdict.items, shown, strict=True):
            lines += [
                line,
                *wrap(item.detail, COLUMNS, initial_indent="  ", subsequent_indent="  "),
            ]
    return "\n".join(lines)


def scores_text(scores: ScoreTable) -> str:
    """Return scores by task and length, in as many tables as `COLUMNS` asks for."""
    rows = [row for family in scores.families for row in family.rows]
    tasks = ("task", *(row.task for row in rows))
    columns = [("effective", *(row.effective for row in rows))]
    columns += [
        (tokens(length), *(_cell(row.cells[place]) for row in rows))
        for place, length in enumerate(scores.lengths)
    ]
    parts = [KEY]
    shown = [tasks]
    for column in columns:
        if len(shown) > 1 and _width([*shown, column]) > COLUMNS:
            parts.append(_table(shown))
            shown = [tasks]
        shown.append(column)
    return "\n\n".join([*parts, _table(shown)])


def _width(columns: Sequence[tuple[str, ...]]) -> int:
    return max(map(len, _table(columns).splitlines()))


def _table(columns: Sequence[tuple[str, ...]]) -> str:
    header, *rows = zip(*columns, strict=True)
    return table(rows, header)


def _cell(cell: ScoreCell | None) -> str:
    if cell is None:
        return "-"
    if not cell.score:
        return f"n/s {cell.not_scored}"
    mark = "*" if cell.passed else " "
    unscored = f" n/s {cell.not_scored}" if cell.not_scored else ""
    return f"{cell.score}{mark} {cell.ends}{unscored}"
