"""Summary of an ingest: tables of sources, skipped documents and lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from longspan.observe.tables import size, table
from longspan.shards.manifest import SourceManifest

HEADER = ("source", "objects", "bytes", "documents", "tokens", "held out", "skipped")


def print_corpora(manifests: Mapping[str, SourceManifest]) -> None:
    """Print tables of what is there, of what was left out and why, and of the documents' lengths."""
    sources = list(manifests.values())
    print()
    print(table([_row(source) for source in sources], HEADER))
    if reasons := sorted({reason for source in sources for reason in source.skipped}):
        rows = [
            (reason, *(f"{source.skipped.get(reason, 0):,}" for source in sources))
            for reason in reasons
        ]
        print()
        print(table(rows, ("skipped", *manifests)))
    print()
    print(table(_length_rows(sources), ("tokens", *manifests)))


def _row(source: SourceManifest) -> tuple[str, ...]:
    return (
        source.name,
        f"{len(source.objects):,}",
        size(source.bytes),
        f"{source.train_documents:,}",
        f"{source.train_tokens:,}",
        f"{source.heldout_documents:,} ({source.heldout_tokens:,} tokens)",
        f"{sum(source.skipped.values()):,}",
    )


def _length_rows(sources: Sequence[SourceManifest]) -> list[tuple[str, ...]]:
    """Documents by length, in bands between powers of two."""
    bands = sorted({band for source in sources for band in source.lengths})
    return [
        (
            f"{2**band:,} to {2 ** (band + 1) - 1:,}",
            *(f"{source.lengths.get(band, (0, 0))[0]:,} documents" for source in sources),
        )
        for band in bands
    ]
