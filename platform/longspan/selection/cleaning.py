"""What ingested sources leave out for being there twice, or in an evaluation set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from longspan.corpus.text_tokenizer import Tokenizer
from longspan.selection.duplicates import repeated
from longspan.selection.evaluation import EvaluationSpec, read_evaluations
from longspan.selection.overlap import OverlapIndex
from longspan.selection.screen import screen
from longspan.selection.subset import index_of, select
from longspan.shards.manifest import SourceManifest
from longspan.shards.token_shards import BlockIndex
from longspan.storage import Store

if TYPE_CHECKING:
    from longspan.selection.contamination import Contamination

DUPLICATE = "duplicate"
EVALUATION = "in an evaluation set"

Duplicates = Literal["none", "within", "across"]


@dataclass(frozen=True)
class CleaningRules:
    """What to leave out.

    Attributes:
        duplicates: documents that repeat one of their own source ("within"), or of any source
            ("across": the first one listed keeps its copy).
        evaluations: sets that no document to train on may contain.
        ngram: tokens of a gram, see `overlap`.
        share: of an evaluation document's grams, the smallest that counts.
    """

    duplicates: Duplicates = "none"
    evaluations: tuple[EvaluationSpec, ...] = ()
    ngram: int = 13
    share: float = 0.5


def clean(
    store: Store,
    manifests: Sequence[SourceManifest],
    rules: CleaningRules,
    tokenizer: Callable[[], Tokenizer],
    *,
    distributed: bool,
    progress: Callable[[str], None],
) -> tuple[list[SourceManifest], Contamination | None]:
    """Sources without what the rules leave out, and what was found of the evaluation sets.

    Args:
        store: where the shards are.
        manifests: the sources, in the recipe's order.
        rules: what to leave out.
        tokenizer: loads the sources' tokenizer, for evaluation sets.
        distributed: screen on the Ray cluster, else in this process.
        progress: takes lines for a person to read.

    Raises:
        UserError: an evaluation set or a shard can't be read.
    """
    sources, report = list(manifests), None
    if rules.evaluations:
        evaluations = read_evaluations(store, rules.evaluations, tokenizer())
        index = OverlapIndex(evaluations, rules.ngram, rules.share)
        sources, report = _decontaminated(store, sources, index, distributed, progress)
        for line in report.table():
            progress(line)
    if rules.duplicates == "within":
        sources = [_without_duplicates(store, [source])[0] for source in sources]
    elif rules.duplicates == "across":
        sources = _without_duplicates(store, sources)
    if rules.duplicates != "none":
        for source in sources:
            dropped = source.skipped.get(DUPLICATE, 0)
            progress(f"duplicates: {source.name}: {dropped:,} documents left out")
    return sources, report


def _decontaminated(
    store: Store,
    sources: Sequence[SourceManifest],
    index: OverlapIndex,
    distributed: bool,
    progress: Callable[[str], None],
) -> tuple[list[SourceManifest], Contamination]:
    from longspan.selection.contamination import contamination

    objects = [item for source in sources for item in source.objects]
    results = screen(store, objects, index, distributed=distributed, progress=progress)
    found = [result.train.contaminated()[0] for result in results]
    return _without(store, sources, found, EVALUATION), contamination(objects, results, index)


def _without_duplicates(store: Store, sources: Sequence[SourceManifest]) -> list[SourceManifest]:
    objects = [item for source in sources for item in source.objects]
    counts = [sum(block.documents for block in item.train) for item in objects]
    found = repeated(counts, lambda number: index_of(store, objects[number]).digests)
    return _without(store, sources, found, DUPLICATE)


def _without(
    store: Store, sources: Sequence[SourceManifest], found: Sequence[np.ndarray], reason: str
) -> list[SourceManifest]:
    """Sources without documents found: sorted indices, for every object of all sources in turn."""
    left: list[SourceManifest] = []
    first = 0
    for source in sources:
        mine = found[first : first + len(source.objects)]
        first += len(source.objects)

        def dropped(
            number: int, index: BlockIndex, mine: Sequence[np.ndarray] = mine
        ) -> np.ndarray:
            return np.isin(np.arange(len(index.lengths)), mine[number])

        left.append(select(store, source, dropped, reason))
    return left
