"""What the screening found, in numbers and by examples; never the text of an evaluation set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from longspan.selection.overlap import OverlapIndex
from longspan.selection.screened import ScreenedObject
from longspan.shards.manifest import PARTS, ObjectManifest

EXAMPLES = 5
DOCUMENT = ["number", "part", "document"]


@dataclass(frozen=True)
class SetContamination:
    """One evaluation set, or all of them together.

    Attributes:
        name: the set's name.
        checked: its documents that were looked for.
        too_short: its documents that have too few tokens to be looked for.
        found: its documents that some document to train on contains.
        train_documents: documents to train on that contain any of them.
        train_tokens: tokens of these.
        heldout_documents: held-out documents that contain any of them.
        heldout_tokens: tokens of these.
    """

    name: str
    checked: int
    too_short: int
    found: int
    train_documents: int
    train_tokens: int
    heldout_documents: int
    heldout_tokens: int


@dataclass(frozen=True)
class Contamination:
    """The report of a screening.

    Attributes:
        fingerprint: of the evaluation sets and the rule.
        ngram: tokens of a gram.
        share: the smallest share of an evaluation document's grams that counts.
        shortest: evaluation documents of fewer tokens were not looked for.
        sets: one per evaluation set, in order.
        total: all of them together; a document with several of them counts once.
        examples: for each set the overlaps of the largest shares: object, part, document (its
            index among the object's documents of that part), tokens, set, evaluation (a document's
            index in its set) and share.
        commonest: for each set the evaluation documents that most documents to train on contain:
            set, evaluation and train_documents. Many for one of them can mean that it is a phrase
            that texts use, and no test.
    """

    fingerprint: str
    ngram: int
    share: float
    shortest: int
    sets: tuple[SetContamination, ...]
    total: SetContamination
    examples: tuple[dict[str, Any], ...]
    commonest: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON value of the same fields."""
        return asdict(self)

    def table(self) -> list[str]:
        """Lines for a person: a row per evaluation set, and one for all if there are several."""
        rows = [*self.sets, self.total] if len(self.sets) > 1 else [*self.sets]
        columns = {
            "evaluation set": [row.name for row in rows],
            "checked": [f"{row.checked}" for row in rows],
            "too short": [f"{row.too_short}" for row in rows],
            "found in training": [f"{row.found}" for row in rows],
            "documents dropped": [f"{row.train_documents}" for row in rows],
            "tokens dropped": [f"{row.train_tokens}" for row in rows],
            "held-out documents": [f"{row.heldout_documents}" for row in rows],
        }
        widths = {name: max(map(len, [name, *cells])) for name, cells in columns.items()}
        lines = [tuple(columns), *zip(*columns.values(), strict=True)]
        return [
            "  ".join(
                cell.rjust(width) if number else cell.ljust(width)
                for number, (cell, width) in enumerate(zip(line, widths.values(), strict=True))
            )
            for line in lines
        ]


def contamination(
    objects: Sequence[ObjectManifest], results: Sequence[ScreenedObject], index: OverlapIndex
) -> Contamination:
    """Sum up what was found in some objects.

    Args:
        objects: the objects, each once.
        results: what each of them contains.
        index: what was looked for.
    """
    assert index.sets, "no evaluation set was looked for"
    rows = _rows(objects, results, index)
    grams = np.split(index.grams, np.cumsum([each.documents for each in index.sets])[:-1])
    by_share = rows.sort_values("share", ascending=False, kind="stable")
    examples = by_share.groupby("set", sort=False).head(EXAMPLES).sort_values("set", kind="stable")
    times = rows[rows["part"] == "train"].groupby(["set", "evaluation"], as_index=False).size()
    times = times.sort_values("size", ascending=False, kind="stable").groupby("set").head(EXAMPLES)
    commonest = times.rename(columns={"size": "train_documents"}).sort_values("set", kind="stable")
    names = [each.name for each in index.sets]
    for table in (examples, commonest):
        table["set"] = [names[number] for number in table["set"]]
    return Contamination(
        fingerprint=index.fingerprint,
        ngram=index.ngram,
        share=index.share,
        shortest=index.shortest,
        sets=tuple(
            _summed(name, rows[rows["set"] == number], of_set)
            for number, (name, of_set) in enumerate(zip(names, grams, strict=True))
        ),
        total=_summed("all together", rows, index.grams),
        examples=_records(examples.drop(columns="number")),
        commonest=_records(commonest),
    )


def _rows(
    objects: Sequence[ObjectManifest], results: Sequence[ScreenedObject], index: OverlapIndex
) -> pd.DataFrame:
    """All overlaps: number and path of the object, part, document, tokens, set, evaluation, share."""
    columns = ["number", "object", "part", "document", "tokens", "set", "evaluation", "share"]
    tables = [pd.DataFrame({name: [] for name in columns})]
    starts = np.cumsum([0, *(each.documents for each in index.sets)])
    for number, (item, result) in enumerate(zip(objects, results, strict=True)):
        for part in PARTS:
            found = getattr(result, part)
            if len(found.documents):
                which = np.searchsorted(starts, found.evaluations, "right") - 1
                evaluations = found.evaluations - starts[which]
                facts = (number, item.path, part, found.documents, found.tokens)
                values = (*facts, which, evaluations, found.shares)
                tables.append(pd.DataFrame(dict(zip(columns, values, strict=True))))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def _summed(name: str, rows: pd.DataFrame, grams: np.ndarray) -> SetContamination:
    dropped = rows.drop_duplicates(DOCUMENT)
    tokens = {part: dropped.loc[dropped["part"] == part, "tokens"] for part in PARTS}
    in_training = rows[rows["part"] == "train"]
    return SetContamination(
        name=name,
        checked=int((grams > 0).sum()),
        too_short=int((grams == 0).sum()),
        found=len(in_training.drop_duplicates(["set", "evaluation"])),
        train_documents=len(tokens["train"]),
        train_tokens=int(tokens["train"].sum()),
        heldout_documents=len(tokens["heldout"]),
        heldout_tokens=int(tokens["heldout"].sum()),
    )


def _records(table: pd.DataFrame) -> tuple[dict[str, Any], ...]:
    return tuple({str(name): row[name] for name in row} for row in table.to_dict("records"))
