"""Sets of self-instruct examples in a store: which documents they are about.

A set is a folder with `manifest.json` and the examples, Parquet objects in `examples/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from longspan.errors import UserError
from longspan.storage import Store, sealed

EXAMPLES = "examples"
"""Folder of a set's examples."""
SPLITS = "splits"
"""Key of a manifest: of each source with a rule, by name, its split and its held-out fraction."""


@dataclass(frozen=True)
class SplitRule:
    """Choice of documents by the rule that holds documents out of training.

    Attributes:
        split: "heldout" takes the held-out documents, "training" the others.
        heldout_fraction: share of the documents that are held out.
    """

    split: Literal["heldout", "training"]
    heldout_fraction: float

    def why_left_out(self, score: float) -> str | None:
        """Return why a document is left out, or None; `score` is of `ingest.objects.heldout_scores`."""
        is_heldout = score < self.heldout_fraction
        if is_heldout == (self.split == "heldout"):
            return None
        return "held out" if is_heldout else "not held out"


def read_splits(store: Store, folder: str) -> dict[str, SplitRule] | None:
    """Return the rules of a set's sources, by name; None if the folder has no manifest that can be read.

    A source without a rule, of whose documents all may be asked about, is not in it.
    """
    try:
        found = sealed.read(store, f"{folder}/manifest.json").get(SPLITS, {})
        return {name: SplitRule(**rule) for name, rule in found.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return None


def require_no_heldout(store: Store, corpus: str, object_paths: Iterable[str]) -> None:
    """Refuse a source of training that is a set of examples about held-out documents.

    Args:
        store: where the objects are.
        corpus: name of the source.
        object_paths: of its objects.

    Raises:
        UserError: one of them is of such a set.
    """
    parents = {path.rpartition("/")[0] for path in object_paths}
    suffix = f"/{EXAMPLES}"
    for folder in sorted(
        parent.removesuffix(suffix) for parent in parents if parent.endswith(suffix)
    ):
        rules = read_splits(store, folder) or {}
        heldout = sorted(name for name, rule in rules.items() if rule.split == "heldout")
        if heldout:
            raise UserError(
                f"corpora.{corpus}.path: {folder}/{EXAMPLES} asks about held-out documents (of {', '.join(heldout)}), "
                "and evaluation on them means nothing once they are trained on; make a set with split: training"
            )
