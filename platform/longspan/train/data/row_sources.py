"""From ingested corpora to the sources of rows, as the mixture's arm says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from longspan.errors import UserError
from longspan.order.packing import Spans, best_fit, documents_cut, one_document_per_row
from longspan.order.packs import window_tokens
from longspan.recipe.describe_rows import PackingFacts
from longspan.selection.arms import Part, divide
from longspan.selection.subset import THREADS, index_of, select
from longspan.shards.manifest import ObjectManifest, SourceManifest
from longspan.shards.token_shards import read_index
from longspan.storage import Store

if TYPE_CHECKING:
    from longspan.recipe.derive import RunPlan
    from longspan.recipe.schema import Corpus, Recipe


@dataclass(frozen=True)
class Source:
    """What a share of the rows comes from: a corpus, or its short or its long documents."""

    name: str
    weight: float
    manifest: SourceManifest
    chat: bool = False
    """Whether its documents are conversations."""
    prompt_loss: float = 1.0
    """Weight in the loss of what is of no answer."""
    alone: bool = False
    """Whether each document has a row of its own."""


def sources_of_rows(
    recipe: Recipe, threshold: int, store: Store, corpora: Sequence[SourceManifest]
) -> tuple[Source, ...]:
    """The sources of rows.

    Args:
        recipe: what is asked for.
        threshold: documents of more tokens are long.
        store: where the shards are.
        corpora: what the recipe's corpora became, in its order.

    Raises:
        UserError: the arm can't be had of these corpora; or a shard is missing or corrupt.
    """
    parts = parts_of(recipe, long_shares(recipe, threshold, store, corpora))
    return tuple(
        _source(
            part.name(corpora[part.corpus].name),
            part.weight,
            _manifest(store, corpora[part.corpus], part, threshold),
            recipe.corpora[part.corpus],
        )
        for part in parts
    )


def _source(name: str, weight: float, manifest: SourceManifest, corpus: Corpus) -> Source:
    chat = corpus.format == "chat"
    prompt_loss = corpus.prompt_loss if chat else 1.0
    return Source(name, weight, manifest, chat, prompt_loss, not corpus.pack)


def parts_of(recipe: Recipe, shares: Mapping[int, float]) -> list[Part]:
    """The parts of the corpora that rows come from.

    Args:
        recipe: what is asked for.
        shares: of each corpus's tokens, the share in long documents.

    Raises:
        UserError: the arm can't be had.
    """
    mixture = recipe.mixture
    long = [shares.get(number, 0.0) for number in range(len(recipe.corpora))]
    share = mixture.share
    if mixture.arm == "long_upsampled" and share is None:
        share = sum(each.weight * part for each, part in zip(recipe.corpora, long, strict=True))
    try:
        return divide(mixture.arm, recipe.weights, long, share)
    except ValueError as error:
        raise UserError(
            f"mixture.arm: {mixture.arm} can't be had of these corpora: {error}; choose another "
            "mixture.threshold, share or arm"
        ) from None


def long_shares(
    recipe: Recipe, threshold: int, store: Store, corpora: Sequence[SourceManifest]
) -> dict[int, float]:
    """Share of the tokens in long documents, by corpus; empty for arms that don't ask."""
    if recipe.mixture.arm in ("own", "base"):
        return {}
    return {
        number: _long_tokens(store, corpus, threshold) / corpus.train_tokens
        for number, corpus in enumerate(corpora)
    }


def packing_facts(store: Store, source: Source, plan: RunPlan) -> tuple[PackingFacts, ...]:
    """What the first window of a source becomes, for every row length of the plan."""
    lengths, wanted = [], window_tokens(max(stage.length for stage in plan.stages))
    for block in source.manifest.train:
        lengths.append(read_index(store, block).lengths)
        wanted -= block.tokens
        if wanted <= 0:
            break
    sample = np.concatenate(lengths)
    return tuple(_packing_facts(sample, stage.length, source.alone) for stage in plan.stages)


def _packing_facts(lengths: np.ndarray, length: int, alone: bool) -> PackingFacts:
    rows = len((one_document_per_row if alone else best_fit)(Spans.whole(lengths), length))
    cut = documents_cut(lengths, length, "concatenate")[0]
    fitting = int(np.count_nonzero(lengths <= length))
    return PackingFacts(length, fitting, cut, 1 - int(lengths.sum()) / (rows * length))


def _long_tokens(store: Store, corpus: SourceManifest, threshold: int) -> int:
    def of(item: ObjectManifest) -> int:
        lengths = index_of(store, item).lengths
        return int(lengths[lengths > threshold].sum())

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(of, corpus.objects))


def _manifest(store: Store, corpus: SourceManifest, part: Part, threshold: int) -> SourceManifest:
    if part.documents == "all":
        return corpus
    unwanted = np.greater if part.documents == "short" else np.less_equal
    return select(store, corpus, lambda _, index: unwanted(index.lengths, threshold))
