"""How many rows an epoch has, once the data is known, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from longspan.order.packing import Spans
from longspan.order.packs import Windows, window_tokens
from longspan.recipe.schema import Recipe
from longspan.recipe.sft import SftRecipe
from longspan.shards.manifest import SourceManifest
from longspan.storage import Store
from longspan.stream.packed_order import READ_THREADS, stored_lengths

if TYPE_CHECKING:
    from longspan.recipe.sft import SftCorpus


def settled(recipe: Recipe, store: Store, manifests: Mapping[str, SourceManifest]) -> Recipe:
    """A recipe whose weights and tokens are known: as it is, or as its data has it.

    Raises:
        UserError: a corpus has hardly any data beside the others; a shard is missing or corrupt.
    """
    if not isinstance(recipe, SftRecipe) or recipe.settled:
        return recipe
    with ThreadPoolExecutor(READ_THREADS) as pool:
        rows = [
            _rows(recipe, number, corpus, store, manifests[corpus.name], pool)
            for number, corpus in enumerate(recipe.corpora)
        ]
    return recipe.settle(rows)


def _rows(
    recipe: SftRecipe,
    number: int,
    corpus: SftCorpus,
    store: Store,
    manifest: SourceManifest,
    pool: ThreadPoolExecutor,
) -> int:
    """Rows of an epoch of one corpus."""
    length = max(stage.length for stage in recipe.length_stages)
    lengths = stored_lengths(store, manifest, pool)
    windows = Windows(
        [block.tokens for block in manifest.train],
        window_tokens(length),
        recipe.training.seed,
        number,
        not corpus.pack,
    )
    return sum(
        len(windows.pack(Spans.whole(lengths(windows.blocks(window))), length))
        for window in range(windows.count)
    )
