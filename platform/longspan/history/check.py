"""Checks that the rows the workers received are those of one undisturbed run.

Of a run that was stopped and started any number of times, with any numbers of workers, what counts
of each update is its last doing before a later start took over. All that counts together has to be
what one start that nothing disturbed would have recorded: every row once and in its update, every
token of an epoch once, and what was done twice the same both times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from longspan.history.records import Rows
from longspan.history.starts import Lineage

SHOWN = 3
"""Examples of one kind of fault."""


@dataclass(frozen=True)
class Finding:
    """What a history came to.

    Attributes:
        order: fingerprint of the data and its order.
        starts: number of workers of every start, the earliest first.
        rows: all rows that count, sorted by number.
        done_again: number of rows that were done again after a restart.
        faults: what keeps it from being one undisturbed run, in words; none if it is.
    """

    order: str
    starts: tuple[int, ...]
    rows: Rows
    done_again: int
    faults: tuple[str, ...]

    @property
    def updates(self) -> int:
        """Updates that count."""
        return len(np.unique(self.rows.updates))


def check(lineage: Lineage) -> Finding:
    """Check one run."""
    counting = [lineage.counting(number) for number in range(len(lineage.starts))]
    rows = Rows.joined(counting)
    rows = rows.select(np.argsort(rows.indices, kind="stable"))
    again = Rows.joined([lineage.done_again(number) for number in range(len(lineage.starts))])
    facts = lineage.starts[0].facts
    faults = [
        *_order_changed(lineage),
        *_gaps(lineage),
        *_row_numbers(rows),
        *_done_again(again, rows),
        *_documents(rows, facts.sources, facts.packing),
    ]
    workers = tuple(start.facts.world_size for start in lineage.starts)
    return Finding(facts.order, workers, rows, len(again), tuple(faults))


def compare(one: Finding, other: Finding) -> list[str]:
    """What keeps two runs of the same order from being the same, as far as both have come."""
    if one.order != other.order:
        return [
            f"they are of different orders of data ({one.order} and {other.order}): corpora, "
            "weights, seed, lengths or packing differ"
        ]
    shared, here, there = np.intersect1d(
        one.rows.indices, other.rows.indices, assume_unique=False, return_indices=True
    )
    different = _different(one.rows.select(here), other.rows.select(there))
    return _examples("row", shared[different], "differs between the two")


def _order_changed(lineage: Lineage) -> Iterator[str]:
    orders = {start.facts.order for start in lineage.starts}
    if len(orders) > 1:
        yield f"its starts followed {len(orders)} different orders: {', '.join(sorted(orders))}"


def _gaps(lineage: Lineage) -> Iterator[str]:
    """Updates that a later start took for done, and that no start has on record."""
    for number, start in enumerate(lineage.starts):
        end = lineage.taken_over(number)
        if end is not None and start.facts.first_update <= end and start.through < end:
            yield (
                f"updates {start.through + 1} to {end}, which the next start took for done, are "
                f"not on record of all workers of start {number + 1} ({start.facts.start})"
            )
    first = lineage.starts[0].facts.first_update
    if first:
        yield f"the first start on record begins after update {first}: earlier ones are missing"


def _row_numbers(rows: Rows) -> Iterator[str]:
    numbers, counts = np.unique(rows.indices, return_counts=True)
    yield from _examples("row", numbers[counts > 1], "was given more than once")
    missing = np.setdiff1d(np.arange(numbers.max(initial=-1) + 1), numbers)
    yield from _examples("row", missing, "was given to nobody")
    backwards = np.flatnonzero(np.diff(rows.updates) < 0)
    yield from _examples(
        "row", rows.indices[backwards + 1], "is in an earlier update than the one before"
    )


def _done_again(again: Rows, rows: Rows) -> list[str]:
    places = np.searchsorted(rows.indices, again.indices)
    known = places < len(rows)
    known[known] = rows.indices[places[known]] == again.indices[known]
    again, kept = again.select(known), rows.select(places[known])
    different = _different(again, kept)
    return _examples("row", np.unique(again.indices[different]), "was not the same when done again")


def _documents(rows: Rows, sources: Sequence[str], packing: str) -> Iterator[str]:
    for number, name in enumerate(sources):
        mine = rows.select(rows.sources == number)
        if packing == "concatenate":
            yield from _examples(f"{name}: row", _not_continued(mine), "resumes where none ended")
        by_token = np.lexsort((mine.offsets, mine.documents, mine.epochs))
        documents, epochs = mine.documents[by_token], mine.epochs[by_token]
        starts = mine.offsets[by_token]
        stops = starts + mine.sizes[by_token]
        same = (documents[1:] == documents[:-1]) & (epochs[1:] == epochs[:-1])
        twice = same & (starts[1:] < stops[:-1])
        yield from _examples(
            f"{name}: document", np.unique(documents[1:][twice]), "was given twice in an epoch"
        )
        yield from _unfinished(name, documents, epochs, stops - starts)


def _unfinished(
    name: str, documents: np.ndarray, epochs: np.ndarray, sizes: np.ndarray
) -> Iterator[str]:
    """Documents that an epoch before the last one left out, wholly or in part."""
    last = int(epochs.max(initial=0))
    if not last:
        return
    whole = np.bincount(documents, weights=sizes * (epochs == 0))
    for epoch in range(1, last + 1):
        given = np.bincount(documents, weights=sizes * (epochs == epoch), minlength=len(whole))
        short = given > whole if epoch == last else given != whole
        yield from _examples(
            f"{name}: document",
            np.flatnonzero(short),
            f"differs in size in epochs 1 and {epoch + 1}",
        )


def _not_continued(rows: Rows) -> np.ndarray:
    """Rows that begin inside a document that the source's row before did not end in."""
    ends = np.cumsum(rows.counts)
    first, last = ends - rows.counts, ends - 1
    inside = rows.offsets[first[1:]] > 0
    follows = (
        (rows.documents[first[1:]] == rows.documents[last[:-1]])
        & (rows.epochs[first[1:]] == rows.epochs[last[:-1]])
        & (rows.offsets[first[1:]] == rows.offsets[last[:-1]] + rows.sizes[last[:-1]])
    )
    consecutive = np.flatnonzero(inside & ~follows)
    return rows.indices[consecutive + 1]


def _different(some: Rows, others: Rows) -> np.ndarray:
    """Where rows of the same numbers are not the same, bool [rows]."""
    same = np.ones(len(some), bool)
    for name in ("updates", "sources", "lengths", "crcs", "counts"):
        same &= getattr(some, name) == getattr(others, name)
    return ~(same & (_identity(some) == _identity(others)))


def _identity(rows: Rows) -> np.ndarray:
    """A hash of every row's spans, uint64 [rows]."""
    mixed = np.zeros(len(rows.documents), np.uint64)
    for values in (rows.documents, rows.epochs, rows.offsets, rows.sizes):
        mixed = (mixed ^ values.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
    ends = np.cumsum(rows.counts)
    return sums[ends] - sums[ends - rows.counts]


def _examples(what: str, numbers: np.ndarray, happened: str) -> list[str]:
    """One fault in words, with the first few of what it happened to; none where there are none."""
    if not len(numbers):
        return []
    shown = ", ".join(str(number) for number in numbers[:SHOWN].tolist())
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return [f"{what} {shown}{more} {happened}"]
