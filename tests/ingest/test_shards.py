"""Shards give back exactly what was written, or say that they cannot."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longspan.errors import UserError
from longspan.shards.token_shards import BlockData, read_block, read_index, without, write_shard
from longspan.storage import Store

DOCUMENTS = st.lists(
    st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=40), min_size=1, max_size=30
)


def arrays(documents: list[list[int]], dtype: type = np.uint32) -> list[np.ndarray]:
    return [np.array(document, dtype) for document in documents]


def as_lists(data: BlockData) -> list[list[int]]:
    return [data.document(number).tolist() for number in range(data.documents)]


@settings(deadline=None, max_examples=50)
@given(documents=DOCUMENTS, block_tokens=st.integers(1, 100), dtype=st.sampled_from("uil"))
def test_documents_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[list[int]],
    block_tokens: int,
    dtype: str,
) -> None:
    store = Store(str(tmp_path_factory.getbasetemp() / "shards"))
    types = {"u": np.uint32, "i": np.int32, "l": np.int64}

    blocks = write_shard(store, "s.parquet", arrays(documents, types[dtype]), block_tokens)
    read = [read_block(store, block) for block in blocks]

    assert [document for data in read for document in as_lists(data)] == documents
    assert [block.group for block in blocks] == list(range(len(blocks)))
    for block, data in zip(blocks, read, strict=True):
        assert (block.documents, block.tokens) == (data.documents, len(data.tokens))
        assert data.tokens.dtype == np.int32
        assert data.offsets.dtype == np.int64
        # A block is full, and was not before its last document.
        last = len(as_lists(data)[-1])
        assert block.tokens >= block_tokens or block is blocks[-1]
        assert block.tokens - last < block_tokens


@settings(deadline=None, max_examples=50)
@given(documents=DOCUMENTS, block_tokens=st.integers(1, 100), twice=st.booleans(), data=st.data())
def test_what_is_left_out_is_not_given(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[list[int]],
    block_tokens: int,
    twice: bool,
    data: st.DataObject,
) -> None:
    store = Store(str(tmp_path_factory.getbasetemp() / "selected"))
    kept = []
    for block in write_shard(store, "s.parquet", arrays(documents), block_tokens):
        texts = as_lists(read_block(store, block))
        for _ in range(1 + twice):
            drop = np.array([data.draw(st.booleans()) for _ in texts], bool)
            texts = [text for text, out in zip(texts, drop, strict=True) if not out]
            block = without(block, read_index(store, block).lengths, drop)
        assert as_lists(read_block(store, block)) == texts
        assert (block.documents, block.tokens) == (len(texts), sum(map(len, texts)))
        index = read_index(store, block)
        assert index.lengths.tolist() == [len(text) for text in texts]
        kept += [(bytes(digest), text) for digest, text in zip(index.digests, texts, strict=True)]
    assert len({digest for digest, _ in kept}) == len({tuple(text) for _, text in kept})


@pytest.fixture
def small(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def test_other_tools_read_a_document_per_row(small: Store) -> None:
    documents = [[1, 2, 3], [4], [5, 6]]
    write_shard(small, "s.parquet", arrays(documents), 4)

    rows = pq.read_table(small.open("s.parquet")).to_pylist()
    assert [np.frombuffer(row["tokens"], "<i4").tolist() for row in rows] == documents
    assert [row["length"] for row in rows] == [3, 1, 2]


def test_a_flipped_bit_is_found_wherever_it_is(small: Store) -> None:
    documents = [list(range(10)), [7], list(range(300, 320))]
    blocks = write_shard(small, "s.parquet", arrays(documents), 11)
    good = small.read_bytes("s.parquet")
    digests = [digest for b in blocks for digest in read_index(small, b).digests.tolist()]
    assert len(blocks) == 2
    found = 0
    for place in range(len(good)):
        damaged = bytearray(good)
        damaged[place] ^= 1 << (place % 8)
        (Path(small.root) / "s.parquet").write_bytes(damaged)
        read: list[list[int]] = []
        known: list[list[int]] = []
        try:
            for block in blocks:
                read += as_lists(read_block(small, block))
                known += read_index(small, block).digests.tolist()
        except UserError as error:
            assert "s.parquet" in str(error)
            assert "corrupt" in str(error)
            found += 1
        else:
            # Only what holds no data may change unseen (the name of the writing library).
            assert (read, known) == (documents, digests)
    assert found > len(good) / 2


@pytest.mark.parametrize("size", [0, 3, 50, -1])
def test_a_truncated_shard(small: Store, size: int) -> None:
    (block,) = write_shard(small, "s.parquet", arrays([[1, 2, 3]]), 10)
    small.write_bytes("s.parquet", small.read_bytes("s.parquet")[:size])

    with pytest.raises(UserError, match=r"s\.parquet, block 0, is corrupt"):
        read_block(small, block)


def test_a_missing_shard(small: Store) -> None:
    (block,) = write_shard(small, "s.parquet", arrays([[1, 2, 3]]), 10)
    small.delete("s.parquet")

    with pytest.raises(UserError, match=r"s\.parquet is missing: run the ingest again"):
        read_block(small, block)


def test_another_shard_under_the_same_name(small: Store) -> None:
    (block,) = write_shard(small, "s.parquet", arrays([[1, 2, 3]]), 10)
    write_shard(small, "s.parquet", arrays([[1, 2, 4]]), 10)

    with pytest.raises(UserError, match="CRC-32 differs"):
        read_block(small, block)
