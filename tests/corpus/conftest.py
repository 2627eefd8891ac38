"""Small sources of numbered tokens, in real shards."""

from pathlib import Path

import numpy as np
import pytest

from longspan.corpus.manifest import SourceManifest
from longspan.corpus.shards import write_shard
from longspan.storage import Store

def make_source(store: Store, name: str, documents: int, block_tokens: int, seed: int) -> SourceManifest:
    """Documents of 1 to 60 tokens; a token's value says its document, so rows can be traced."""
    lengths = np.random.default_rng(seed).integers(1, 61, documents)
    texts = [np.full(length, number, np.int32) for number, length in enumerate(lengths)]
    train = write_shard(store, f"shards/{name}/train.parquet", texts, block_tokens)
    heldout = write_shard(store, f"shards/{name}/heldout.parquet", texts[:20], block_tokens)

    return SourceManifest(name, f"{name}-{seed}", "tokenizer", tuple(train), tuple(heldout))

@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))

@pytest.fixture
def sources(store: Store) -> tuple[SourceManifest, ...]:
    return (make_source(store, "a", 300, 200, 1), make_source(store, "b", 40, 100, 2))
