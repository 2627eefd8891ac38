"""Samples to read: a few of each cell, with the ends of their prompts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from longspan.evaluate.report.numbers import percent, tokens
from longspan.evaluate.report.tables import cell_anchor
from longspan.evaluate.results import SampleRecord

REFERENCES_SHOWN = 8


@dataclass(frozen=True)
class Excerpts:
    """How much of the samples is shown."""

    samples_per_cell: int = 2
    """Those with the lowest and the highest scores of a cell, in turn."""
    characters: int = 300
    """Of a prompt's head, of its tail, of a reply, and of the evidence."""


DEFAULT_EXCERPTS = Excerpts()


@dataclass(frozen=True)
class SampleView:
    """One sample as it is shown."""

    index: int
    score: str
    """Percent; "" if there is no reply."""
    problem: str
    truncated: bool
    prompt_tokens: str
    reply_tokens: str
    depth: float | None
    place: str
    """Where the evidence is; "" if there is no single place."""
    evidence: str
    head: str
    tail: str
    reply: str
    references: tuple[str, ...]
    more_references: int


@dataclass(frozen=True)
class SampleCell:
    """Samples of one task, length and depth."""

    anchor: str
    title: str
    count: int
    mean: str
    """Mean score in percent, of those with a reply."""
    samples: tuple[SampleView, ...]


@dataclass(frozen=True)
class SampleTask:
    """Samples of one task."""

    task: str
    cells: tuple[SampleCell, ...]


def sample_tasks(
    samples: Mapping[str, Sequence[SampleRecord]], excerpts: Excerpts
) -> list[SampleTask]:
    """Samples to show, by task, length and depth."""
    return [
        SampleTask(task, tuple(_cells(task, records, excerpts)))
        for task, records in samples.items()
        if records
    ]


def chosen(records: Sequence[SampleRecord], count: int) -> list[SampleRecord]:
    """Up to `count` samples: without a reply first, then lowest and highest scores in turn."""
    ordered = sorted(records, key=lambda r: (-1.0 if r.score is None else r.score, r.index))
    ends = [ordered.pop(0 if turn % 2 == 0 else -1) for turn in range(min(count, len(ordered)))]
    return sorted(ends, key=lambda record: record.index)


def _cells(task: str, records: Sequence[SampleRecord], excerpts: Excerpts) -> list[SampleCell]:
    cells: dict[tuple[int, float | None], list[SampleRecord]] = defaultdict(list)
    for record in records:
        cells[record.length, record.depth].append(record)
    order = sorted(cells, key=lambda key: (key[0], -1.0 if key[1] is None else key[1]))
    return [_cell(task, *key, cells[key], excerpts) for key in order]


def _cell(
    task: str,
    length: int,
    depth: float | None,
    records: Sequence[SampleRecord],
    excerpts: Excerpts,
) -> SampleCell:
    scores = [record.score for record in records if record.score is not None]
    where = "" if depth is None else f", depth {percent(depth, 0)} %"
    return SampleCell(
        anchor=cell_anchor(task, length, depth),
        title=f"{tokens(length)}{' tokens' * (length > 0)}{where}",
        count=len(records),
        mean=percent(sum(scores) / len(scores)) if scores else "",
        samples=tuple(
            _view(record, excerpts.characters)
            for record in chosen(records, excerpts.samples_per_cell)
        ),
    )


def _view(record: SampleRecord, characters: int) -> SampleView:
    tail = record.prompt_tail
    return SampleView(
        index=record.index,
        score="" if record.score is None else percent(record.score),
        problem=record.problem,
        truncated=record.truncated,
        prompt_tokens=f"{record.prompt_tokens:,}",
        reply_tokens=f"{record.reply_tokens:,}",
        depth=record.depth,
        place=_place(record),
        evidence=_start(record.evidence_text, characters),
        head=_start(record.prompt_head, characters),
        tail=tail if len(tail) <= characters else f"[...] {tail[-characters:]}",
        reply=_start(record.reply, characters),
        references=tuple(_start(text, characters) for text in record.references[:REFERENCES_SHOWN]),
        more_references=max(0, len(record.references) - REFERENCES_SHOWN),
    )


def _place(record: SampleRecord) -> str:
    if not record.evidence:
        return ""
    first, last = record.evidence[0]
    more = len(record.evidence) - 1
    others = f", and {more:,} more place{'s' * (more > 1)}" if more else ""
    return f"characters {first:,} to {last:,} of the prompt's text{others}"


def _start(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[:characters]} [...]"
