"""Scaling: what grows with the corpus and with the length of a run, and what does not.

Three tables: setting up the order of simulated corpora; memory of the stream and of the ingest as
the corpus grows tenfold; time to the first row at the start of a run and deep inside it, beside the
peers where these are installed.
"""

from __future__ import annotations

import gc
import pickle
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import isolated, peers, texts
from benchmarks.common import (
    SEPARATOR,
    local_ray,
    machine,
    parse,
    parser,
    table,
    temporary_store,
    timed,
)
from benchmarks.dataplane import NAME, Data, ingest
from longspan.corpus.sources import SourceSpec
from longspan.corpus.text_tokenizer import Tokenizer
from longspan.order.order import Order, Stage
from longspan.shards.manifest import ObjectManifest, SourceManifest, manifest_path
from longspan.shards.token_shards import Block
from longspan.storage import Store
from longspan.stream.plan import StreamPlan, local_batches

SHARES = (0.4, 0.3, 0.2, 0.1)
BLOCK_TOKENS = 2**20
DOCUMENT_TOKENS = 1000
BLOCKS_PER_OBJECT = 16
UPDATE_TOKENS = 2**22
LENGTH = 1024
ROWS = 8


def simulated(name: str, blocks: int) -> SourceManifest:
    """A source of so many blocks that are nowhere."""
    sizes = np.random.default_rng(0).integers(BLOCK_TOKENS, BLOCK_TOKENS + 10_000, blocks).tolist()
    objects = []
    for first in range(0, blocks, BLOCKS_PER_OBJECT):
        shard = f"shards/{name}/{first:012x}/train-00000.parquet"
        train = tuple(
            Block(shard, group, size // DOCUMENT_TOKENS, size, 123456789)
            for group, size in enumerate(sizes[first : first + BLOCKS_PER_OBJECT])
        )
        path = f"raw/{name}/{first:012x}.jsonl"
        objects.append(ObjectManifest(path, "v", f"{first:012x}", "fastokens", train))
    return SourceManifest.of(name, "tokenizer", None, objects)


def order_setup(documents: int) -> tuple[str, ...]:
    """One row of the table of orders."""
    blocks = max(10, documents * DOCUMENT_TOKENS // BLOCK_TOKENS)
    with temporary_store() as store:
        for number, share in enumerate(SHARES):
            simulated(f"s{number}", round(blocks * share)).save(store)
        names = [f"s{number}" for number in range(len(SHARES))]
        size = sum(len(store.read_bytes(manifest_path(name))) for name in names)
        # What was simulated is gone by now; its peak is not.
        return isolated.run(_order_facts, store.root, names, documents, size)


def _order_facts(root: str, names: list[str], documents: int, size: int) -> tuple[str, ...]:
    store = Store(root)
    base = _memory()
    manifests, loading = timed(lambda: [SourceManifest.load(store, name) for name in names])
    loaded = _memory()
    blocks = [[block.tokens for block in manifest.train] for manifest in manifests]
    tokens = sum(map(sum, blocks))
    half = tokens // 2 // UPDATE_TOKENS + 1
    stages = [Stage(length, UPDATE_TOKENS // length, half) for length in (4096, 32768)]

    def set_up() -> Order:
        order = Order(blocks, SHARES, stages, seed=0)
        for source in range(len(SHARES)):
            order.pieces(source, 0, LENGTH)  # The layout of the first epoch.
        return order

    order, setup = timed(set_up)
    used = _memory()
    state, pickling = timed(lambda: pickle.dumps(order))
    _, unpickling = timed(lambda: pickle.loads(state))
    chosen = random.Random(0).choices(range(order.num_rows), k=2000)
    rows, finding = timed(lambda: [order.row(index) for index in chosen])
    for row in rows:
        order.pieces(row.source, row.start, row.length)
    _, placing = timed(lambda: [order.pieces(row.source, row.start, row.length) for row in rows])
    return (
        f"{documents:,}",
        f"{sum(map(len, blocks)):,}",
        f"{size / 1e6:.2f}",
        f"{loading * 1e3:,.1f}",
        f"{setup * 1e3:,.1f}",
        f"{(pickling + unpickling) * 1e3:,.1f}",
        f"{len(state) / 1e6:.2f}",
        f"{(finding + placing) / len(chosen) * 1e6:.1f}",
        f"{loaded - base:,.0f}",
        f"{used - loaded:,.0f}",
    )


def reading_memory(root: str, copies: int, through_ray: bool) -> tuple[float, float]:
    """Peak memory, in MB, of reading one epoch of a corpus so many times as large; rows a second."""
    store = Store(root)
    manifest = _repeated(SourceManifest.load(store, NAME), copies)
    plan = _plan(store, manifest, manifest.train_tokens // LENGTH // ROWS)
    if not through_ray:
        return _watched(local_batches(plan, 0, 1), plan)
    from longspan.stream.ray_data import batches, dataset

    with local_ray(2):
        (split,) = dataset(plan, 1).streaming_split(1, equal=False)
        return _watched(batches(split, plan, 0, 1), plan)


def _watched(batches: Iterable[Any], plan: StreamPlan) -> tuple[float, float]:
    with isolated.watching() as watch:
        count, seconds = timed(lambda: sum(len(batch.tokens) for batch in batches))
    assert count == plan.order.num_rows
    return watch.peak, count / seconds


def ingest_memory(root: str, model: Path, copies: int) -> tuple[float, float]:
    """Peak memory, in MB, of an ingest through Ray of so many copies; million tokens a second."""
    from longspan.ingest.corpora import Ingest

    with temporary_store() as store, local_ray(2):
        for info in Store(root).list("raw"):
            data = Store(root).read_bytes(info.path)
            for copy in range(copies):
                store.write_bytes(f"raw/{copy:03d}-{Path(info.path).name}", data)
        asked = Ingest(store, [SourceSpec(NAME, ("raw",))], str(model), SEPARATOR, 0.0, "stop")
        with isolated.watching() as watch:
            done, seconds = timed(lambda: asked.run(lambda line: None))
    return watch.peak, done[NAME].train_tokens / seconds / 1e6


def first_row(root: str, copies: int, row: int, through_ray: bool) -> float:
    """Seconds from a loaded program to the first batch, the order's set-up included."""
    store = Store(root)
    local_batches  # noqa: B018 Imported.
    import pyarrow.parquet  # noqa: F401

    def start() -> Any:
        manifest = _repeated(SourceManifest.load(store, NAME), copies)
        updates = manifest.train_tokens // LENGTH // ROWS
        plan = replace(_plan(store, manifest, updates), first_update=row // ROWS)
        if not through_ray:
            return next(iter(local_batches(plan, 0, 1)))
        from longspan.stream.ray_data import batches, dataset

        (split,) = dataset(plan, 1).streaming_split(1, equal=False)
        stream = batches(split, plan, 0, 1)
        batch = next(stream)
        stream.close()
        return batch

    if through_ray:
        with local_ray(2):
            batch, seconds = timed(start)
    else:
        batch, seconds = timed(start)
    assert batch.indices[0] == row, f"row {batch.indices[0]} in the place of {row}"
    return seconds


def first_row_mosaic(root: str, copies: int, row: int) -> float:
    """The same of a `StreamingDataset` of rows packed beforehand, that many times over."""
    folder = Data(Path(root), Path(), 0).rows(LENGTH)
    base = peers._mosaic()
    base.util.clean_stale_shared_memory()

    def start() -> Any:
        stream = base.Stream(local=str(folder), repeat=copies)
        dataset = base.StreamingDataset(
            streams=[stream], shuffle=True, shuffle_seed=0, batch_size=peers.MDS_BATCH
        )
        state = dataset.state_dict(row, True)
        dataset.load_state_dict(state | {"epoch": 0, "sample_in_epoch": row})
        return next(iter(dataset))

    return timed(start)[1]


def first_row_hugging_face(root: str, copies: int, row: int) -> float:
    """The same of `skip`, in documents, of which a row holds about one."""
    pattern = [str(path) for path in sorted(Path(root).glob("parquet/*.parquet"))] * copies

    def start() -> Any:
        dataset = peers.hf_dataset("parquet", pattern).with_format("arrow")
        return next(iter(dataset.skip(row)))

    return timed(start)[1]


def _plan(store: Store, manifest: SourceManifest, updates: int) -> StreamPlan:
    blocks = [block.tokens for block in manifest.train]
    order = Order([blocks], [1.0], [Stage(LENGTH, ROWS, updates)], seed=0)
    return StreamPlan(store, (manifest,), order, 0, document_mask=True)


def _repeated(manifest: SourceManifest, copies: int) -> SourceManifest:
    """A corpus so many times as large, of the same shards over and over."""
    return replace(manifest, train=manifest.train * copies, objects=())


def _memory() -> float:
    gc.collect()
    return psutil.Process().memory_full_info().uss / isolated.MB


def prepare(root: str, model: Path, megabytes: float, with_peers: bool) -> int:
    """Shards of real text, and the same for the peers; returns the number of rows."""
    data = Data(Path(root), model, 0)
    texts.write_jsonl(data.store, "raw", texts.documents(int(megabytes * 1e6), 4000))
    manifest = ingest(data.store, Tokenizer(model, SEPARATOR))
    if with_peers:
        from benchmarks.dataplane import token_arrays

        (data.folder / "parquet").mkdir()
        peers.write_parquet(data.folder / "parquet/0.parquet", token_arrays(data, manifest))
        rows = (batch.tokens[0] for batch in peers.pack(token_arrays(data, manifest), 1, LENGTH))
        peers.write_mds(data.rows(LENGTH), "row", "ndarray:int32", rows)
    return manifest.train_tokens // LENGTH


def report_order(documents: list[int]) -> None:
    header = (
        "documents",
        "blocks",
        "manifests, MB",
        "load, ms",
        "order, ms",
        "pickle and back, ms",
        "pickled, MB",
        "any row, µs",
        "manifests in memory, MB",
        "order in memory, MB",
    )
    print(table(header, [order_setup(count) for count in documents]), flush=True)


def report_memory(root: str, model: Path, ingest_root: str, growth: int) -> None:
    measured: list[tuple[str, str, Callable[[int], tuple[float, float]]]] = [
        ("read in process", "rows/s", lambda n: isolated.run(reading_memory, root, n, False)),
        (
            "Ray Data, its reader and a worker, all of Ray",
            "rows/s",
            lambda n: isolated.run(reading_memory, root, n, True),
        ),
        (
            "ingest, all of Ray",
            "M tokens/s",
            lambda n: isolated.run(ingest_memory, ingest_root, model, n),
        ),
    ]
    rows = []
    for name, unit, measure in measured:
        (small, _), (large, rate) = measure(1), measure(growth)
        rows.append(
            (name, f"{small:,.0f}", f"{large:,.0f}", f"{large / small:.2f}", f"{rate:,.1f} {unit}")
        )
    header = ("peak memory, MB", "corpus", f"{growth} times that", "ratio", "rate of the larger")
    print("\n" + table(header, rows), flush=True)


def report_resume(root: str, rows: int, row: int, with_peers: bool) -> None:
    copies = row // rows + 2
    sides: list[tuple[str, Callable[[int], float], int]] = [
        ("ours, in process", lambda n: isolated.run(first_row, root, copies, n, False), row),
        ("ours, Ray Data", lambda n: isolated.run(first_row, root, copies, n, True), row),
    ]
    if with_peers:
        sides += [
            (
                "MosaicML, rows packed beforehand, load_state_dict",
                lambda n: isolated.run(first_row_mosaic, root, copies, n),
                row,
            ),
            (
                "Hugging Face, skip",
                lambda n: isolated.run(first_row_hugging_face, root, copies, n),
                row // 50,
            ),
        ]
    lines = []
    for name, measure, deep in sides:
        lines.append((name, f"{measure(0):.2f}", f"{measure(deep):.2f}", f"{deep:,}"))
    header = ("seconds to the first row", "at row 0", "deep inside", "at row")
    print("\n" + table(header, lines), flush=True)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--parts", nargs="+", default=["order", "memory", "resume"])
    options.add_argument("--documents", type=int, nargs="+", default=[10**4, 10**6, 10**8])
    options.add_argument("--megabytes", type=float, default=200.0, help="text to read")
    options.add_argument("--ingest-megabytes", type=float, default=40.0, help="text to ingest")
    options.add_argument("--growth", type=int, default=10, help="of the corpus")
    options.add_argument("--row", type=int, default=10_000_000, help="where a run goes on")
    chosen = parse(options)
    if "order" in chosen.parts:
        report_order(chosen.documents)
    with_peers = peers.installed()
    with temporary_store() as store, temporary_store() as small:
        rows = 0
        if {"memory", "resume"} & set(chosen.parts):
            rows = isolated.run(prepare, store.root, chosen.model, chosen.megabytes, with_peers)
        if "memory" in chosen.parts:
            isolated.run(prepare, small.root, chosen.model, chosen.ingest_megabytes, False)
            report_memory(store.root, chosen.model, small.root, chosen.growth)
        if "resume" in chosen.parts:
            report_resume(store.root, rows, chosen.row, with_peers)
    print(f"\n{chosen.megabytes:.0f} MB of text; {machine()}")


if __name__ == "__main__":
    main()
