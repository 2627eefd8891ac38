"""Sources that leave out some of their documents: stored shards stay as they are.

Duplicates, documents of evaluation sets and length bands are chosen among what is ingested already,
by what is known of each document. What is left is a manifest whose blocks say which documents they
leave out, so that another choice needs no other shards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from longspan.shards.manifest import ObjectManifest, SourceManifest, length_bands
from longspan.shards.token_shards import BlockIndex, read_index, without
from longspan.storage import Store

THREADS = 16

Dropped = Callable[[int, BlockIndex], np.ndarray]
"""Which documents of object number n to leave out, bool [documents]."""


def select(
    store: Store, manifest: SourceManifest, dropped: Dropped, reason: str | None = None
) -> SourceManifest:
    """A source without some of its training documents.

    Args:
        store: where the shards are.
        manifest: the source.
        dropped: chooses, object by object; what it is told of is in the order of the blocks.
        reason: counted as skipped for this reason; None if they are used elsewhere.

    Raises:
        UserError: a shard is missing or corrupt (it is named).
    """

    def reduced(numbered: tuple[int, ObjectManifest]) -> ObjectManifest:
        number, item = numbered
        return _reduced(store, item, lambda index: dropped(number, index), reason)

    with ThreadPoolExecutor(THREADS) as pool:
        objects = pool.map(reduced, enumerate(manifest.objects))
        return SourceManifest.of(manifest.name, manifest.tokenizer, manifest.separator, objects)


def index_of(store: Store, item: ObjectManifest) -> BlockIndex:
    """What is known of an object's training documents, in the order of its blocks."""
    return _joined([read_index(store, block) for block in item.train])


def _reduced(
    store: Store,
    item: ObjectManifest,
    dropped: Callable[[BlockIndex], np.ndarray],
    reason: str | None,
) -> ObjectManifest:
    indices = [read_index(store, block) for block in item.train]
    whole = _joined(indices)
    drop = dropped(whole)
    assert drop.shape == whole.lengths.shape, f"{item.path}: {drop.shape} of {whole.lengths.shape}"
    if not drop.any():
        return item
    ends = np.cumsum([len(index.lengths) for index in indices])[:-1]
    blocks = [
        without(block, index.lengths, part)
        for block, index, part in zip(item.train, indices, np.split(drop, ends), strict=True)
    ]
    skipped = Counter(item.skipped)
    if reason:
        skipped[reason] += int(drop.sum())
    return replace(
        item,
        train=tuple(block for block in blocks if block.documents),
        skipped=dict(sorted(skipped.items())),
        lengths=length_bands(whole.lengths[~drop]),
    )


def _joined(indices: list[BlockIndex]) -> BlockIndex:
    empty = BlockIndex(np.empty(0, np.int64), np.empty((0, 2), np.uint64))
    parts = [empty, *indices]
    return BlockIndex(
        np.concatenate([part.lengths for part in parts]),
        np.concatenate([part.digests for part in parts]),
    )
