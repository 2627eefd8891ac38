"""Data plane: rows a second of our stream against MosaicML Streaming and Hugging Face datasets.

All sides read the same documents, tokenised alike, shuffle them, and make the same batches: tokens,
labels and positions of rows of one length. Each runs in a fresh process on one core, as do the
processes that it starts. The sides take turns; medians. First "from tokens", prepared beforehand in
every library's own format; then "from documents", which the peers tokenise as they read them and we
ingest once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import isolated, peers, texts
from benchmarks.common import SEPARATOR, local_ray, machine, parse, parser, table, temporary_store
from longspan.corpus.sources import SourceSpec
from longspan.corpus.text_tokenizer import Tokenizer
from longspan.ingest.objects import Settings, ingest_object
from longspan.order.order import Order, Stage
from longspan.shards.manifest import SourceManifest
from longspan.shards.token_shards import read_block
from longspan.storage import Store
from longspan.stream.plan import StreamPlan, local_batches

NAME = "texts"
ENCODED_AT_ONCE = 64
"""Documents that the peers' side gives to the tokenizer together."""


@dataclass(frozen=True)
class Data:
    """The documents, in all formats."""

    folder: Path
    model: Path
    separator: int

    @property
    def store(self) -> Store:
        return Store(str(self.folder))

    @property
    def manifest(self) -> SourceManifest:
        return SourceManifest.load(self.store, NAME)

    def rows(self, length: int) -> Path:
        return self.folder / f"rows-{length}"


@dataclass(frozen=True)
class Shape:
    """Batches: so many, of so many rows of so many tokens."""

    length: int
    rows: int
    batches: int


@dataclass(frozen=True)
class Found:
    """What a side did."""

    rate: float
    """Rows a second, from the first batch to the last."""
    start: float
    """Seconds to the first batch."""
    whole: float
    """Rows a second, from the start."""


Batches = Iterable[Any]
Side = Callable[[Data, Shape], Batches]


def ours(data: Data, shape: Shape, manifest: SourceManifest | None = None) -> Batches:
    """As in a run under torchrun."""
    return local_batches(_plan(data, shape, manifest or data.manifest), 0, 1)


def ours_through_ray(data: Data, shape: Shape) -> Batches:
    """As in a run on a Ray cluster: reader and worker are actors."""
    from longspan.stream.ray_data import batches, dataset

    plan = _plan(data, shape, data.manifest)
    (split,) = dataset(plan, 1).streaming_split(1, equal=False)
    return batches(split, plan, 0, 1)


def mosaic(data: Data, shape: Shape) -> Batches:
    dataset = peers.mds_dataset(data.folder / "mds")
    return peers.pack(peers.mds_samples(dataset, "tokens"), shape.rows, shape.length)


def mosaic_rows(data: Data, shape: Shape) -> Batches:
    dataset = peers.mds_dataset(data.rows(shape.length))
    samples = peers.mds_samples(dataset, "row")
    return peers.stack(samples, shape.rows, shape.length, data.separator)


def mosaic_worker(data: Data, shape: Shape) -> Batches:
    dataset = peers.mds_dataset(data.folder / "mds")
    samples = partial(peers.mds_samples, dataset, "tokens")
    return peers.in_worker(lambda: peers.pack(samples(), shape.rows, shape.length))


def hugging_face(data: Data, shape: Shape) -> Batches:
    dataset = peers.hf_dataset("parquet", f"{data.folder}/parquet/*.parquet")
    return peers.pack(peers.hf_arrays(dataset, "tokens"), shape.rows, shape.length)


def hugging_face_rows(data: Data, shape: Shape) -> Batches:
    dataset = peers.hf_dataset("parquet", f"{data.folder}/parquet/*.parquet")
    rows = peers.hf_arrays(peers.hf_rows(dataset, shape.length), "row")
    return peers.stack(rows, shape.rows, shape.length, data.separator)


def hugging_face_worker(data: Data, shape: Shape) -> Batches:
    return peers.in_worker(lambda: iter(hugging_face(data, shape)))


def ours_ingesting(data: Data, shape: Shape) -> Batches:
    """Ingest, then stream; both in this process."""
    with temporary_store() as store:
        for info in data.store.list("raw"):
            store.write_bytes(info.path, data.store.read_bytes(info.path))
        tokenizer = Tokenizer(data.model, SEPARATOR)
        yield  # What comes before is no part of it.
        manifest = ingest(store, tokenizer)
        yield from local_batches(_plan(data, shape, manifest, store), 0, 1)


def peer_tokenising(data: Data, shape: Shape, peer: str, kind: str) -> Batches:
    """Documents of a peer, encoded as they come."""
    if peer == "mosaic":
        samples = peers.mds_samples(peers.mds_dataset(data.folder / "mds-text"), "text")
    else:
        dataset = peers.hf_dataset("json", f"{data.folder}/raw/*.jsonl")
        samples = peers.hf_samples(dataset, "text")
    tokenizer = Tokenizer(data.model, SEPARATOR)
    tokenizer = tokenizer if kind == "fastokens" else tokenizer.reference()
    assert tokenizer.name == kind, f"{tokenizer.name} in the place of {kind}"
    encoded = (
        document
        for batch in texts.in_batches(samples, ENCODED_AT_ONCE)
        for document in tokenizer.encode_batch(batch)
    )
    yield
    yield from peers.pack(encoded, shape.rows, shape.length)


FROM_TOKENS: dict[str, Side] = {
    "ours": ours,
    "MosaicML": mosaic,
    "MosaicML, rows packed beforehand": mosaic_rows,
    "Hugging Face": hugging_face,
    "Hugging Face, rows packed, then shuffled": hugging_face_rows,
}
WITH_A_READER: dict[str, Side] = {
    "ours, Ray Data": ours_through_ray,
    "MosaicML, DataLoader": mosaic_worker,
    "Hugging Face, DataLoader": hugging_face_worker,
}
FROM_DOCUMENTS: dict[str, Side] = {
    "ours: ingest, then stream": ours_ingesting,
    "MosaicML, fastokens": partial(peer_tokenising, peer="mosaic", kind="fastokens"),
    "Hugging Face, fastokens": partial(peer_tokenising, peer="hf", kind="fastokens"),
    "MosaicML, tokenizers": partial(peer_tokenising, peer="mosaic", kind="transformers"),
    "Hugging Face, tokenizers": partial(peer_tokenising, peer="hf", kind="transformers"),
}


def measure(side: Side, data: Data, shape: Shape, lead: bool = False) -> Found:
    """Take all batches of a side, in a process that has nothing else to do.

    With `lead`, the first thing that the side yields only says that it is ready.
    """
    if side is ours_through_ray:
        with local_ray(2):
            return _taken(side(data, shape), shape, lead)
    return _taken(side(data, shape), shape, lead)


def _taken(batches: Batches, shape: Shape, lead: bool) -> Found:
    batches = iter(batches)
    if lead:
        next(batches)
    began = first = last = time.perf_counter()
    count = 0
    for batch in islice(batches, shape.batches):
        assert tuple(batch.tokens.shape) == (shape.rows, shape.length)
        last = time.perf_counter()
        first = last if not count else first
        count += 1
    assert count == shape.batches, f"{count} batches of {shape.batches}"
    rate = (count - 1) * shape.rows / (last - first)
    return Found(rate, first - began, count * shape.rows / (last - began))


def prepare(data: Data, megabytes: float, characters: int, lengths: Sequence[int]) -> None:
    """Write the documents once for every side; the token sides get what our ingest made."""
    documents = texts.documents(int(megabytes * 1e6), characters)
    for path in texts.write_jsonl(data.store, "raw", documents):
        assert path.endswith(".jsonl")
    manifest = ingest(data.store, Tokenizer(data.model, SEPARATOR))
    peers.write_mds(data.folder / "mds", "tokens", "ndarray:int32", token_arrays(data, manifest))
    peers.write_mds(data.folder / "mds-text", "text", "str", _texts(data))
    (data.folder / "parquet").mkdir()
    for number in range(0, len(manifest.train), 16):
        part = token_arrays(data, manifest, number, number + 16)
        peers.write_parquet(data.folder / f"parquet/{number:05d}.parquet", part)
    for length in lengths:
        batches = peers.pack(token_arrays(data, manifest), 1, length)
        rows = (batch.tokens[0] for batch in batches)
        peers.write_mds(data.rows(length), "row", "ndarray:int32", rows)


def ingest(store: Store, tokenizer: Tokenizer) -> SourceManifest:
    """Raw documents to shards, in this process."""
    settings = Settings(tokenizer.hash, SEPARATOR, 0.0, 2**20)
    spec = SourceSpec(NAME, ("raw",))
    done = [
        ingest_object(store, spec, info, settings, tokenizer, "stop") for info in store.list("raw")
    ]
    manifest = SourceManifest.of(NAME, tokenizer.hash, SEPARATOR, done)
    manifest.save(store)
    assert set(manifest.tokenizers) == {"fastokens"}, f"encoded by {manifest.tokenizers}"
    return manifest


def check(data: Data) -> None:
    """The sides have the same documents, and make the same batches of them."""
    expected = _identity(token_arrays(data, data.manifest))
    dataset = peers.mds_dataset(data.folder / "mds")
    assert _identity(sample["tokens"] for sample in dataset) == expected, "MosaicML's differ"
    rows = peers.hf_dataset("parquet", f"{data.folder}/parquet/*.parquet").with_format("numpy")
    assert _identity(row["tokens"] for row in rows) == expected, "Hugging Face's differ"
    shape = Shape(512, 4, 50)
    batches = list(ours(data, shape))
    pieces = (
        row.tokens[start:stop]
        for batch in batches
        for row in batch.rows
        for start, stop in zip(row.starts, [*row.starts[1:], shape.length], strict=True)
    )
    for one, other in zip(batches, peers.pack(pieces, shape.rows, shape.length), strict=True):
        assert all(
            np.array_equal(getattr(one, name), getattr(other, name)) for name in other._fields
        ), f"batch {one.update} is packed otherwise"
    tokenizer = Tokenizer(data.model, SEPARATOR)
    some = list(islice(_texts(data), 200))
    for one, other in zip(
        tokenizer.encode_batch(some), tokenizer.reference().encode_batch(some), strict=True
    ):
        assert np.array_equal(one, other), "the tokenizers differ"


def _identity(documents: Iterable[np.ndarray]) -> tuple[int, int, int]:
    """Number, tokens and a sum of hashes: of these documents in any order."""
    number = tokens = digest = 0
    for document in documents:
        number, tokens = number + 1, tokens + len(document)
        digest = (digest + hash(np.asarray(document, np.int32).tobytes())) % 2**64
    return number, tokens, digest


def token_arrays(
    data: Data, manifest: SourceManifest, first: int = 0, last: int | None = None
) -> Iterator[np.ndarray]:
    for block in manifest.train[first:last]:
        read = read_block(data.store, block)
        yield from (read.document(i) for i in range(read.documents))


def _texts(data: Data) -> Iterator[str]:
    import json

    for info in data.store.list("raw"):
        for line in data.store.read_bytes(info.path).decode().split("\n")[:-1]:
            yield json.loads(line)["text"]


def _plan(
    data: Data, shape: Shape, manifest: SourceManifest, store: Store | None = None
) -> StreamPlan:
    stage = Stage(shape.length, shape.rows, shape.batches)
    order = Order([[block.tokens for block in manifest.train]], [1.0], [stage], seed=0)
    return StreamPlan(store or data.store, (manifest,), order, 0, document_mask=True)


def compare(
    sides: dict[str, Side], data: Data, shapes: dict[str, Shape], rounds: int, core: int, lead: bool
) -> dict[str, Found]:
    """Medians of every side."""
    found: dict[str, list[Found]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(isolated.run(measure, side, data, shapes[name], lead, core=core))
    return {
        name: Found(
            *(median(getattr(item, field) for item in runs) for field in ("rate", "start", "whole"))
        )
        for name, runs in found.items()
    }


def report(title: str, length: int, found: dict[str, Found], field: str) -> None:
    """A table of rows a second; the first side is ours."""
    rates = {name: getattr(item, field) for name, item in found.items()}
    ours = next(iter(rates.values()))
    rows = [
        (
            name,
            f"{rate:,.0f}",
            f"{rate * length / 1e6:.1f}",
            f"{ours / rate:.2f}",
            f"{found[name].start:.1f}",
        )
        for name, rate in rates.items()
    ]
    header = ("rows/s", "million tokens/s", "ours to this", "start, s")
    print("\n" + table((f"{title}, rows of {length:,}", *header), rows), flush=True)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--megabytes", type=float, default=200.0, help="text, at least")
    options.add_argument(
        "--characters", type=int, default=4000, help="of a document; 0: whole source files"
    )
    options.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096, 32768])
    options.add_argument("--batch-tokens", type=int, default=32768, help="tokens of a batch")
    options.add_argument("--epochs", type=float, default=2.0, help="of the tokens, per side")
    options.add_argument("--slow-megabytes", type=float, default=8.0, help="for the slow tokenizer")
    options.add_argument("--rounds", type=int, default=3, help="times that each side runs")
    options.add_argument("--core", type=int, default=0, help="the core of all sides")
    options.add_argument("--parts", nargs="+", default=["tokens", "reader", "documents"])
    chosen = parse(options)
    if not peers.installed():
        options.error(f"the peers are not in {peers.FOLDER}: see benchmarks/README.md")
    with temporary_store() as store:
        folder = Path(store.root)
        data = Data(folder, chosen.model, Tokenizer(chosen.model, SEPARATOR).separator)
        isolated.run(prepare, data, chosen.megabytes, chosen.characters, chosen.lengths)
        isolated.run(check, data)
        manifest = data.manifest
        tokens, documents = manifest.train_tokens, manifest.train_documents
        print(f"{documents:,} documents of {tokens / documents:,.0f} tokens, {tokens:,} in all")
        for length in chosen.lengths:
            rows = max(1, chosen.batch_tokens // length)
            whole = Shape(length, rows, int(tokens * chosen.epochs / length / rows))
            for part, sides in (("tokens", FROM_TOKENS), ("reader", WITH_A_READER)):
                if part in chosen.parts:
                    shapes = dict.fromkeys(sides, whole)
                    found = compare(sides, data, shapes, chosen.rounds, chosen.core, False)
                    title = "One process" if part == "tokens" else "A reader and a worker"
                    report(title, length, found, "rate")
        if "documents" in chosen.parts:
            length = chosen.lengths[0]
            rows = max(1, chosen.batch_tokens // length)
            whole = Shape(length, rows, tokens // length // rows)
            some = Shape(
                length,
                rows,
                int(whole.batches * min(1.0, chosen.slow_megabytes / chosen.megabytes)),
            )
            shapes = {
                name: some if name.endswith("tokenizers") else whole for name in FROM_DOCUMENTS
            }
            found = compare(FROM_DOCUMENTS, data, shapes, chosen.rounds, chosen.core, True)
            report("From documents, one epoch", length, found, "whole")
    print(
        f"\n{chosen.megabytes:.0f} MB of text; batches of {chosen.batch_tokens:,} tokens; one core; "
        f"medians of {chosen.rounds}; {machine()}"
    )


if __name__ == "__main__":
    main()
