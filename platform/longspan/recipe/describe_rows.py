"""What rows are made of, as text: lengths of documents, their share of the mix, and packing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longspan.observe.tables import table
from longspan.recipe.shares import shares
from longspan.shards.manifest import Bands

if TYPE_CHECKING:
    from longspan.recipe.derive import RunPlan

MOST_BANDS = 12
BAR = 40


@dataclass(frozen=True)
class RowSource:
    """What is known of a source of rows once it is ingested: a corpus, or its long or short part."""

    name: str
    weight: float
    documents: int
    tokens: int
    bands: Bands
    packing: tuple[PackingFacts, ...]
    """One for every row length."""


@dataclass(frozen=True)
class PackingFacts:
    """What rows of one length make of a sample of a source's documents."""

    length: int
    documents: int
    """No longer than a row."""
    cut: int
    """Those of them that concatenation cuts; best-fit packing cuts none."""
    padding: float
    """Share of the rows' tokens that best-fit packing leaves empty."""


def row_tables(plan: RunPlan, rows: Sequence[RowSource]) -> list[str]:
    """Tables of the sources of rows; none where they are not known."""
    if not rows:
        return []
    parts = [_part_table(plan, rows)] if any("/" in row.name for row in rows) else []
    return [*parts, _band_table(rows), _packing_table(rows)]


def _part_table(plan: RunPlan, rows: Sequence[RowSource]) -> str:
    lines = []
    for share, row in zip(shares([row.weight for row in rows]), rows, strict=True):
        asked = share * plan.tokens
        repeats = f"{asked / row.tokens:.2f} x"
        cells = (f"{share:.2%}", f"{row.documents:,}", f"{row.tokens:,}", f"{asked:,.0f}", repeats)
        lines.append((row.name, *cells))
    header = ("rows come from", "weight", "documents", "tokens", "asked for", "repeats")
    return table(lines, header)


def _band_table(rows: Sequence[RowSource]) -> str:
    """Documents and share of the tokens by length, per source, and of the mix."""
    found = sorted({n for row in rows for n in row.bands})
    lowest = max(found[0], found[-1] - MOST_BANDS + 1)
    weights = shares([row.weight for row in rows])
    lines = []
    for n in range(lowest, found[-1] + 1):
        cells, mixed = [], 0.0
        for weight, row in zip(weights, rows, strict=True):
            within = [band for m, band in row.bands.items() if m == n or m < n == lowest]
            documents = sum(band[0] for band in within)
            share = sum(band[1] for band in within) / row.tokens
            mixed += weight * share
            cells.append(f"{documents:,} ({share:.1%})")
        low = f"{2**n:,}" if n > lowest or n == found[0] else "0"
        bar = "#" * round(BAR * mixed)
        lines.append((f"{low} to {2 ** (n + 1) - 1:,}", *cells, f"{mixed:6.1%} {bar}".rstrip()))
    header = ("documents of so many tokens", *(row.name for row in rows), "tokens of the mix")
    return table(lines, header)


def _packing_table(rows: Sequence[RowSource]) -> str:
    lines = [
        (
            row.name,
            f"{facts.length:,}",
            f"{facts.cut:,} of {facts.documents:,}",
            f"{facts.padding:.3%}",
        )
        for row in rows
        for facts in row.packing
    ]
    header = (
        "packing, in a sample",
        "row length",
        "cut by concatenation, of those that fit in a row",
        "padding with best_fit",
    )
    return table(lines, header)
