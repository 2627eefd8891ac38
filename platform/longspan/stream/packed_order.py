"""Best-fit packing for an order: laid out once, and kept in the store for the starts that follow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np

from longspan.order.order import Order
from longspan.order.packs import Lengths, PackedStage, PackTable, lay_out
from longspan.shards.manifest import SourceManifest
from longspan.shards.token_shards import read_index
from longspan.storage import Store, sealed

FORMAT = 2
FOLDER = "shards/_packs"  # No source is called that.
READ_THREADS = 16


def packed_order(order: Order, lengths: Sequence[Lengths], tokens: int | None = None) -> Order:
    """An order with best-fit packing.

    Args:
        order: one of concatenated rows.
        lengths: gives document lengths, per source.
        tokens: of a window; derived from the longest row when None.
    """
    return order.packed(
        [
            lay_out(windows, order.rows_of_stages(source), lengths[source])
            for source, windows in enumerate(order.windows(tokens))
        ]
    )


def stored_packed_order(
    order: Order,
    store: Store,
    manifests: Sequence[SourceManifest],
    progress: Callable[[str], None] = print,
) -> Order:
    """An order with best-fit packing, read from the store, or laid out and put there.

    Raises:
        UserError: a shard is missing or corrupt (it is named).
    """
    path = f"{FOLDER}/{_key(order, manifests)}.json"
    if (stages := _load(store, path)) is not None:
        tables = zip(order.windows(), stages, strict=True)
        return order.packed([PackTable(*table) for table in tables])
    progress("packing: best fit, laid out from the documents' lengths")
    with ThreadPoolExecutor(READ_THREADS) as pool:
        packed = packed_order(order, [stored_lengths(store, each, pool) for each in manifests])
    kept = [[_stage_to(stage) for stage in table.stages] for table in packed.packs]
    store.write_bytes(path, sealed.dumps({"sources": kept}))
    return packed


def stored_lengths(store: Store, manifest: SourceManifest, pool: ThreadPoolExecutor) -> Lengths:
    """Reads a source's document lengths, block by block."""

    def lengths(blocks: Sequence[int]) -> np.ndarray:
        chosen = [manifest.train[number] for number in blocks]
        return np.concatenate(
            [index.lengths for index in pool.map(lambda block: read_index(store, block), chosen)]
        )

    return lengths


def _load(store: Store, path: str) -> list[tuple[PackedStage, ...]] | None:
    """The stages of every source; None where they are to be laid out, as where what is kept is damaged."""
    if not store.exists(path):
        return None
    try:
        kept = sealed.read(store, path)["sources"]
    except sealed.Damaged:
        return None
    return [tuple(_stage_from(stage) for stage in source) for source in kept]


def _key(order: Order, manifests: Sequence[SourceManifest]) -> str:
    facts = [FORMAT, order.fingerprint, [manifest.fingerprint for manifest in manifests]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _stage_to(stage: PackedStage) -> dict[str, Any]:
    return asdict(stage) | {"ends": stage.ends.tolist()}


def _stage_from(kept: dict[str, Any]) -> PackedStage:
    cuts = tuple((length, rows) for length, rows in kept["cuts"])
    return PackedStage(**kept | {"cuts": cuts, "ends": np.array(kept["ends"], np.int64)})
