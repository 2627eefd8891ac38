"""Small sources of numbered tokens, in real shards."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longspan.corpus.text_tokenizer import Tokenizer
from longspan.order.order import Order, Stage
from longspan.shards.manifest import SourceManifest
from longspan.shards.token_shards import write_shard
from longspan.storage import Store
from longspan.stream.plan import StreamPlan
from tests.tiny import make_tiny_tokenizer

Sources = tuple[SourceManifest, ...]

STAGES = (Stage(32, 8, 20), Stage(128, 2, 20))


def make_source(
    store: Store, name: str, documents: int, block_tokens: int, seed: int
) -> SourceManifest:
    """Documents of 1 to 60 tokens; a token's value says its document, so rows can be traced."""
    lengths = np.random.default_rng(seed).integers(1, 61, documents)
    texts = [np.full(length, number, np.int32) for number, length in enumerate(lengths)]
    train = write_shard(store, f"shards/{name}/train.parquet", texts, block_tokens)
    heldout = write_shard(store, f"shards/{name}/heldout.parquet", texts[:20], block_tokens)
    return SourceManifest(name, f"{name}-{seed}", "tokenizer", tuple(train), tuple(heldout))


def order_of(sources: Sources, stages: tuple[Stage, ...] = STAGES) -> Order:
    """Seven rows of the first source to three of the second, which repeats."""
    blocks = [[block.tokens for block in source.train] for source in sources]
    return Order(blocks, [0.7, 0.3], stages, seed=5, window_blocks=3)


def corrupt(store: Store, shard: str) -> None:
    """Flip one bit of the tokens of every block of a shard."""
    data = bytearray(store.read_bytes(shard))
    metadata = pq.ParquetFile(pa.BufferReader(bytes(data))).metadata
    for group in range(metadata.num_row_groups):
        column = metadata.row_group(group).column(0)
        data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    store.write_bytes(shard, bytes(data))


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """The tiny tokenizer, as the ingest has it."""
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tiny_tokenizer().save_pretrained(folder)
    return Tokenizer(folder)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def sources(store: Store) -> Sources:
    return make_source(store, "a", 300, 200, 1), make_source(store, "b", 40, 100, 2)


@pytest.fixture
def plan(store: Store, sources: Sources) -> StreamPlan:
    """Forty updates of 256 tokens; after twenty the rows become four times as long.

    Of one rank's items each holds one update; of three ranks' three.
    """
    return StreamPlan(
        store, sources, order_of(sources), first_update=0, document_mask=True, item_tokens=256
    )
