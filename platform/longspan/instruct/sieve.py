"""From replies and verdicts to the questions that become examples; all that is turned down, by reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from longspan.instruct.near_duplicates import near_duplicates
from longspan.instruct.verdicts import Verdict, why_rejected

Row = dict[str, Any]

STAGES = ("replies", "grounding", "critique", "near duplicates", "window")
UNGROUNDED = "answer not in the chunk"
REPEATED = "says again what another question says"
SHOWN = 400
"""Characters of a rejected reply that are kept for a person to read."""


@dataclass
class Rejects:
    """What was turned down.

    Attributes:
        counts: by stage and reason.
        samples: of each reason, the first few: stage, reason, text.
    """

    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    samples: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, stage: str, reason: str, text: str, most: int = 2) -> None:
        """Turn something down."""
        assert stage in STAGES, f"unknown stage {stage}"
        self.counts[stage][reason] += 1
        found = self.samples[stage, reason]
        if len(found) < most:
            found.append(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")

    def total(self, stage: str) -> int:
        """How many a stage turned down."""
        return sum(self.counts[stage].values())


def grounded(replies: pa.Table, least: float, rejects: Rejects) -> list[Row]:
    """The rows of replies that hold a question and an answer whose words are in the chunk."""
    left = []
    for row in _sorted(replies):
        if row["problem"]:
            rejects.add("replies", row["problem"], row["reply"] or "(nothing)")
        elif row["grounding"] < least:
            share = f"{row['grounding']:.0%} of the answer's words are in the chunk"
            rejects.add("grounding", UNGROUNDED, f"{_said(row)} ({share})")
        else:
            left.append(row)
    return left


def by_chunk(rows: Iterable[Row]) -> dict[str, list[tuple[str, str, str]]]:
    """Id, question and answer of each row, by the id of the chunk."""
    found: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for row in rows:
        found[row["chunk"]].append((row["id"], row["question"], row["answer"]))
    return dict(found)


def approved(
    rows: Iterable[Row],
    verdicts: pa.Table,
    require: Iterable[str],
    min_score: int,
    rejects: Rejects,
) -> list[Row]:
    """Those of the rows whose verdict is good enough, with it; one without a verdict is left out uncounted."""
    judged = {row["id"]: row for row in verdicts.to_pylist()}
    required = list(require)
    left = []
    for row in rows:
        judgement = judged.get(row["id"])
        if judgement is None:
            continue
        why = judgement["problem"] or None
        if why is None:
            verdict = Verdict(**{key: judgement[key] for key in Verdict.model_fields})
            row = row | verdict.model_dump()
            why = why_rejected(verdict, required, min_score)
        if why is None:
            left.append(row)
        else:
            rejects.add("critique", why, f"{_said(row)} (verdict: {judgement['reply'] or 'none'})")
    return left


def distinct(rows: Iterable[Row], threshold: float, rejects: Rejects) -> list[Row]:
    """Without near-duplicate questions: of each group the best judged one stays."""
    ranked = sorted(rows, key=lambda row: (-row["score"], -row["grounding"], row["id"]))
    repeats = near_duplicates([row["question"] for row in ranked], threshold)
    for number, kept in sorted(repeats.items()):
        rejects.add(
            "near duplicates",
            REPEATED,
            f"{ranked[number]['question']} (kept: {ranked[kept]['question']})",
        )
    return [row for number, row in enumerate(ranked) if number not in repeats]


def accepted_by_chunk(rows: Iterable[Row]) -> Mapping[str, list[Row]]:
    """The rows by the id of their chunk, in order of their own ids."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["id"]):
        found[row["chunk"]].append(row)
    return dict(found)


def _sorted(table: pa.Table) -> list[Row]:
    return sorted(table.to_pylist(), key=lambda row: row["id"])


def _said(row: Row) -> str:
    return f"Q: {row['question']} A: {row['answer']}"
