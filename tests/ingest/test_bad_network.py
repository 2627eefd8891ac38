"""From raw objects to rows over a bad network: the same rows as over a good one, or a clear error."""

import re

import numpy as np
import pytest

from longspan.corpus.sources import SourceSpec
from longspan.corpus.text_tokenizer import Tokenizer
from longspan.errors import UserError
from longspan.ingest.objects import Settings, ingest_object
from longspan.order.order import Order, Stage
from longspan.shards.manifest import SourceManifest
from longspan.storage import Store
from longspan.stream.rows import RowReader
from tests.fault_proxy import TRANSIENT, Faults, faulty
from tests.raw import FORMATS, sentences
from tests.s3 import S3Server

pytestmark = [pytest.mark.real, pytest.mark.deep]


@pytest.fixture
def stored(s3_server: S3Server, request: pytest.FixtureRequest) -> Store:
    """A store with the same documents in every format, reached without faults."""
    # Always the same names: they decide what goes wrong.
    root = f"s3://{s3_server.bucket}/{re.sub(r'[^a-z0-9]+', '-', request.node.name)}"
    store = Store(root, endpoint=s3_server.endpoint)
    for number, (suffix, write) in enumerate(FORMATS.items()):
        store.write_bytes(f"raw/{number}{suffix}", write(sentences(300, seed=number)))
    return store


def ingested(store: Store, tokenizer: Tokenizer) -> SourceManifest:
    settings = Settings(tokenizer.hash, None, 0.0, 2000)
    spec = SourceSpec("a", ("raw",))
    objects = [
        ingest_object(store, spec, info, settings, tokenizer, "skip") for info in store.list("raw")
    ]
    return SourceManifest.of("a", tokenizer.hash, None, objects)


def rows(store: Store, manifest: SourceManifest) -> np.ndarray:
    blocks = [block.tokens for block in manifest.train]
    order = Order([blocks], [1.0], [Stage(64, 8, 60)], seed=1)
    reader = RowReader(store, [manifest], order)
    return np.stack([reader.read(order.row(i)).tokens for i in range(order.num_rows)])


@pytest.mark.parametrize("kind", TRANSIENT)
def test_transient_faults_give_the_same_rows(
    stored: Store, tokenizer: Tokenizer, kind: str
) -> None:
    undisturbed = ingested(stored, tokenizer)
    expected = rows(stored, undisturbed)
    with faulty(stored.endpoint or "", TRANSIENT[kind]) as proxy:
        store = Store(stored.root, endpoint=proxy.endpoint)
        found = ingested(store, tokenizer)
        assert np.array_equal(rows(store, found), expected)
    assert found == undisturbed
    assert not any(item.bad for item in found.objects)
    assert proxy.injected[kind] > 0


def test_damage_that_stays_is_named_and_never_passes(stored: Store, tokenizer: Tokenizer) -> None:
    manifest = ingested(stored, tokenizer)
    for number, suffix in enumerate(FORMATS):
        name = f"raw/{number}{suffix}"
        named = pytest.raises(UserError, match=name.replace(".", r"\."))
        with faulty(stored.endpoint or "", Faults(damaged=name)) as proxy, named:
            ingested(Store(stored.root, endpoint=proxy.endpoint), tokenizer)
        assert proxy.injected["damaged"] > 0
    shard = manifest.train[0].shard
    corrupt = pytest.raises(UserError, match="is corrupt or unreadable")
    with faulty(stored.endpoint or "", Faults(damaged=shard)) as proxy, corrupt:
        rows(Store(stored.root, endpoint=proxy.endpoint), manifest)
    assert proxy.injected["damaged"] > 0
