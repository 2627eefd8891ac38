"""Token shards: Parquet files of tokenised documents, read one block at a time.

A block is one Parquet row group of whole documents; it is the unit in which the data is shuffled
and fetched. Parquet's own page checksums are off by default, on write and on read, and a flipped
bit then reads back as a different token; here they are on both ways. They do not cover the
headers, so every block also carries a CRC-32 of what it decodes to.

A document's tokens are one binary value, of little-endian int32: a list takes twice as long to
read, for Parquet keeps a level with each of its elements. Beside them stand the document's length
and a digest of its tokens, as columns of their own: duplicates, length bands and packing are
planned from these without reading any tokens.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from longspan.errors import UserError
from longspan.storage import Store, retried
from longspan.storage.parquet import open_parquet

TOKENS, LENGTH, DIGEST = "tokens", "length", "digest"
READS = 3
T = TypeVar("T")
SCHEMA = pa.schema(
    [
        pa.field(TOKENS, pa.binary(), False),
        pa.field(LENGTH, pa.int32(), False),
        pa.field(DIGEST, pa.binary(16), False),
    ],
    metadata={TOKENS: "of one document, int32, little-endian"},
)
MOST_TOKENS = 2**29 - 1
"""Of a block: Arrow counts the bytes of a binary column in int32."""


@dataclass(frozen=True)
class Block:
    """Where a block of documents lies, and what it holds.

    Attributes:
        shard: path of the Parquet file, relative to the store's root.
        group: index of the row group in that file.
        documents: number of documents it gives.
        tokens: number of tokens it gives, of all the documents together.
        crc: CRC-32 of the offsets and tokens stored, as `checksum` computes it; None is not
            checked.
        left_out: which of the stored documents it doesn't give, rising.
        left_out_tokens: number of their tokens.
    """

    shard: str
    group: int
    documents: int
    tokens: int
    crc: int | None = None
    left_out: tuple[int, ...] = ()
    left_out_tokens: int = 0


@dataclass(frozen=True)
class BlockData:
    """The documents of a block, one after another.

    Attributes:
        tokens: int32 [tokens].
        offsets: int64 [documents + 1]; document j is tokens[offsets[j]:offsets[j + 1]].
    """

    tokens: np.ndarray
    offsets: np.ndarray

    @property
    def documents(self) -> int:
        """Number of documents."""
        return len(self.offsets) - 1

    def document(self, index: int) -> np.ndarray:
        """The tokens of one document, int32 [length] (a view)."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True)
class BlockIndex:
    """What is known of a block's documents without reading their tokens.

    Attributes:
        lengths: int64 [documents], in tokens.
        digests: uint64 [documents, 2]; equal for documents of equal tokens.
    """

    lengths: np.ndarray
    digests: np.ndarray


def digests(tokens: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """128-bit digests of documents that lie one after another, uint64 [documents, 2].

    Args:
        tokens: int32 [tokens].
        offsets: int64 [documents + 1], as in `BlockData`.
    """
    data = np.ascontiguousarray(tokens, "<i4").data.cast("B")
    ends = (offsets * 4).tolist()
    found = [
        hashlib.blake2b(data[start:stop], digest_size=16).digest() for start, stop in pairwise(ends)
    ]
    return np.frombuffer(b"".join(found), "<u8").reshape(-1, 2)


def without(block: Block, lengths: np.ndarray, dropped: np.ndarray) -> Block:
    """A block that leaves out some of the documents it gives.

    Args:
        block: the block.
        lengths: int64 [documents], of the documents it gives.
        dropped: bool [documents], which of them to leave out.
    """
    if not dropped.any():
        return block
    gives = np.setdiff1d(np.arange(block.documents + len(block.left_out)), block.left_out)
    left_out = np.union1d(block.left_out, gives[dropped]).astype(int)
    tokens = int(lengths[dropped].sum())
    return replace(
        block,
        documents=block.documents - int(dropped.sum()),
        tokens=block.tokens - tokens,
        left_out=tuple(left_out.tolist()),
        left_out_tokens=block.left_out_tokens + tokens,
    )


def checksum(data: BlockData) -> int:
    """CRC-32 of a block's offsets and then its tokens, both little-endian."""
    crc = zlib.crc32(np.ascontiguousarray(data.offsets, "<i8").data)
    return zlib.crc32(np.ascontiguousarray(data.tokens, "<i4").data, crc)


def write_shard(
    store: Store, path: str, documents: Sequence[np.ndarray], block_tokens: int
) -> list[Block]:
    """Write documents as one shard, in the order given.

    A block ends with the document that brings it to `block_tokens`; documents are never split, so
    a document longer than that makes a longer block.

    Args:
        store: where to write.
        path: the shard's path; an object of that name is replaced once the new one is whole.
        documents: integer arrays [length], each of at least one token.
        block_tokens: tokens per block, at least 1.

    Returns:
        The shard's blocks, in order.

    Raises:
        UserError: the store cannot be written to.
    """
    lengths = np.array([len(document) for document in documents], np.int64)
    return write_flat_shard(store, path, documents, lengths, block_tokens)


def write_flat_shard(
    store: Store, path: str, pieces: Sequence[np.ndarray], lengths: np.ndarray, block_tokens: int
) -> list[Block]:
    """Like `write_shard`, for documents that already lie one after another.

    Args:
        store: where to write.
        path: the shard's path.
        pieces: integer arrays which joined are all documents joined.
        lengths: int64 [documents]; the length of every document, none of them 0.
        block_tokens: tokens per block, at least 1.
    """
    assert len(lengths) and lengths.min() > 0, f"shard {path}: no document, or an empty one"
    tokens = np.concatenate(pieces)
    # No id is above 2^31, so that unsigned ones need no copy.
    tokens = tokens.view(np.int32) if tokens.dtype == np.uint32 else tokens.astype(np.int32)
    sink = pa.BufferOutputStream()
    blocks = []
    with pq.ParquetWriter(
        sink,
        SCHEMA,
        compression="zstd",
        compression_level=1,
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
        store_schema=False,
    ) as writer:
        for group, data in enumerate(_blocks(tokens, lengths, block_tokens)):
            # A table is at most one row group, however many documents it has.
            writer.write_table(_table(data), row_group_size=data.documents)
            blocks.append(Block(path, group, data.documents, len(data.tokens), checksum(data)))
    store.write_bytes(path, sink.getvalue())
    return blocks


def _table(data: BlockData) -> pa.Table:
    tokens = np.ascontiguousarray(data.tokens, "<i4")
    ends = pa.py_buffer((data.offsets * 4).astype(np.int32))
    found = pa.py_buffer(digests(tokens, data.offsets))
    columns = [
        pa.Array.from_buffers(pa.binary(), data.documents, [None, ends, pa.py_buffer(tokens)]),
        pa.array(np.diff(data.offsets).astype(np.int32)),
        pa.Array.from_buffers(pa.binary(16), data.documents, [None, found]),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _blocks(tokens: np.ndarray, lengths: np.ndarray, block_tokens: int) -> Iterator[BlockData]:
    ends = np.cumsum(lengths)
    assert ends[-1] == len(tokens), f"{len(tokens)} tokens in documents of {ends[-1]}"
    first = start = 0
    while first < len(lengths):
        last = min(int(np.searchsorted(ends, start + block_tokens)) + 1, len(lengths))
        stop = int(ends[last - 1])
        assert stop - start <= MOST_TOKENS, f"a block of {stop - start} tokens"
        yield BlockData(tokens[start:stop], np.concatenate([[0], ends[first:last] - start]))
        first, start = last, stop


def read_block(store: Store, block: Block) -> BlockData:
    """Read one block back and check it; documents left out are not in it.

    Damage on the way is repaired by reading it again.

    Raises:
        UserError: the shard is missing, cannot be read, or its content is not what was written.
    """
    data = _again(lambda: _checked(store, block))
    return _given(data, block.left_out) if block.left_out else data


def read_index(store: Store, block: Block) -> BlockIndex:
    """Read what is known of the documents that a block gives; its tokens are not read.

    Raises:
        UserError: as `read_block`.
    """
    lengths, found = _again(lambda: _checked_index(store, block))
    given = np.delete(np.arange(len(lengths)), block.left_out)
    return BlockIndex(lengths[given], found[given])


def _again(reading: Callable[[], T]) -> T:
    for _ in range(READS - 1):
        try:
            return reading()
        except _Corrupt:
            continue
    return reading()


def _checked(store: Store, block: Block) -> BlockData:
    with _reading(store, block):
        data = _flat(_columns(store, block, [TOKENS])[0])
    if block.crc is not None and checksum(data) != block.crc:
        raise _corrupt(store, block, "its CRC-32 differs from the manifest's")
    _check(store, block, data.documents, len(data.tokens))
    return data


def _checked_index(store: Store, block: Block) -> tuple[np.ndarray, np.ndarray]:
    with _reading(store, block):
        length, digest = _columns(store, block, [LENGTH, DIGEST])
        lengths = length.to_numpy().astype(np.int64)
        found = np.frombuffer(b"".join(digest.to_pylist()), "<u8").reshape(-1, 2)
    _check(store, block, len(lengths), int(lengths.sum()))
    return lengths, found


@contextmanager
def _reading(store: Store, block: Block) -> Iterator[None]:
    """Errors of reading a shard, as what they mean."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(
            f"shard {store.uri(block.shard)} is missing: run the ingest again to write it"
        ) from None
    except Exception as error:  # A damaged file can fail anywhere in Arrow, in any way.
        raise _corrupt(store, block, str(error) or type(error).__name__) from error


def _columns(store: Store, block: Block, names: list[str]) -> list[pa.ChunkedArray]:
    def read() -> pa.Table:
        with store.open(block.shard) as raw:
            file = open_parquet(raw, names)
            return file.read_row_group(block.group, columns=names, use_threads=False)

    with store.reading(block.shard):
        table = retried(read)
    return [table.column(name) for name in names]


def _check(store: Store, block: Block, documents: int, tokens: int) -> None:
    stored = (block.documents + len(block.left_out), block.tokens + block.left_out_tokens)
    if (documents, tokens) != stored:
        raise _corrupt(store, block, f"(documents, tokens) read as {(documents, tokens)}")


def _flat(column: pa.ChunkedArray) -> BlockData:
    # Reading may return a column in several chunks.
    tokens, ends = [np.empty(0, "<i4")], [np.zeros(1, np.int64)]
    for chunk in column.chunks:
        _, offsets, values = chunk.buffers()
        found = np.frombuffer(offsets, np.int32, len(chunk) + 1, chunk.offset * 4)
        assert not (found % 4).any(), "documents of no whole tokens"
        text = np.frombuffer(values, "<i4", (found[-1] - found[0]) // 4, found[0])
        tokens.append(text)
        ends.append((found[1:] - found[0]) // 4 + ends[-1][-1])
    flat = tokens[1] if len(tokens) == 2 else np.concatenate(tokens)
    return BlockData(flat, np.concatenate(ends))


def _given(data: BlockData, left_out: Sequence[int]) -> BlockData:
    lengths = np.diff(data.offsets)
    given = np.ones(data.documents, bool)
    given[list(left_out)] = False
    offsets = np.concatenate([[0], np.cumsum(lengths[given])])
    return BlockData(data.tokens[np.repeat(given, lengths)], offsets)


class _Corrupt(UserError):
    """What was read is not the block."""


def _corrupt(store: Store, block: Block, reason: str) -> _Corrupt:
    return _Corrupt(
        f"shard {store.uri(block.shard)}, block {block.group}, is corrupt or unreadable "
        f"({reason}): delete the shard and run the ingest again to write it anew"
    )
