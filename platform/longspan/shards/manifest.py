"""Manifest of a source: its objects, their blocks of tokens, and what was skipped."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np

from longspan.errors import UserError
from longspan.shards.token_shards import Block
from longspan.storage import Store, sealed
from longspan.storage.paths import stored_path

FORMAT = 2
FOLDER = "shards"
"""Of the store: shards are nowhere else, whatever a manifest states."""
PARTS = ("train", "heldout")

Bands = dict[int, tuple[int, int]]
"""{n: (documents, tokens)} of documents with lengths in [2^n, 2^(n+1)), in tokens."""


def length_bands(lengths: np.ndarray) -> Bands:
    """Documents of these lengths (int64 [documents], none 0) by band."""
    # frexp is exact where a logarithm is not.
    bands = np.frexp(lengths.astype(np.float64))[1] - 1
    documents = np.bincount(bands).tolist()
    tokens = np.bincount(bands, weights=lengths).astype(np.int64).tolist()
    return {n: (count, tokens[n]) for n, count in enumerate(documents) if count}


@dataclass(frozen=True)
class ObjectManifest:
    """What one raw object became.

    Attributes:
        path: the raw object, as the source's patterns name it.
        version: the object's version when it was read (see `storage.ObjectInfo`).
        key: hash of path, version and settings; the folder of its shards is named by it.
        tokenizer: the implementation that encoded it, "fastokens" or "transformers".
        train: blocks to train on, in document order.
        heldout: blocks that never enter training, in document order.
        bytes: size of the object as stored.
        characters: characters of the documents kept.
        skipped: number of documents left out, by reason.
        bad: number of those left out because the input was bad, not by choice.
        lengths: {n: (documents, tokens)} of those to train on with lengths in [2^n, 2^(n+1)).
        lowest: smallest held-out score of a document kept, in [0, 1]; see `ingest`.
        verified: whether what was read could be compared with what the store says it holds.
    """

    path: str
    version: str
    key: str
    tokenizer: str
    train: tuple[Block, ...] = ()
    heldout: tuple[Block, ...] = ()
    bytes: int = 0
    characters: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    bad: int = 0
    lengths: Bands = field(default_factory=dict)
    lowest: float = 1.0
    verified: bool = True

    @property
    def tokens(self) -> int:
        """Tokens of all its documents, held-out ones included."""
        return sum(block.tokens for block in self.train + self.heldout)

    def to_json(self) -> dict[str, Any]:
        """A JSON value that `from_json` reads."""
        return _facts(self) | {"train": _pack(self.train), "heldout": _pack(self.heldout)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ObjectManifest:
        """The inverse of `to_json`.

        Raises:
            ForeignPath: a shard is elsewhere than shards are.
        """
        parsed: dict[str, Any] = {part: tuple(_unpack(value[part])) for part in PARTS}
        parsed["lengths"] = {int(n): tuple(band) for n, band in value["lengths"].items()}
        return cls(**(value | parsed))


@dataclass(frozen=True)
class SourceManifest:
    """What one source became; `of` sums its objects up.

    Attributes:
        name: the source's name in the recipe.
        fingerprint: hash of the tokenised content (see `fingerprint_of`).
        tokenizer: hash of the tokenizer's files.
        train: blocks to train on, in the order of the objects.
        heldout: blocks that never enter training, in the order of the objects.
        characters: characters of the documents kept.
        bytes: size of the raw objects as stored.
        skipped: number of documents left out, by reason.
        separator: the token that ends every document; None is the tokenizer's own eos_token.
        objects: one entry per raw object, sorted by path.
    """

    name: str
    fingerprint: str
    tokenizer: str
    train: tuple[Block, ...]
    heldout: tuple[Block, ...] = ()
    characters: int = 0
    bytes: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    separator: str | None = None
    objects: tuple[ObjectManifest, ...] = ()

    @classmethod
    def of(
        cls, name: str, tokenizer: str, separator: str | None, objects: Iterable[ObjectManifest]
    ) -> SourceManifest:
        """Sum up the objects of a source, in order of their paths."""
        objects = tuple(sorted(objects, key=lambda item: item.path))
        train = tuple(block for item in objects for block in item.train)
        heldout = tuple(block for item in objects for block in item.heldout)
        return cls(
            name=name,
            fingerprint=fingerprint_of(tokenizer, train, heldout),
            tokenizer=tokenizer,
            train=train,
            heldout=heldout,
            characters=sum(item.characters for item in objects),
            bytes=sum(item.bytes for item in objects),
            skipped=_sum(item.skipped for item in objects),
            separator=separator,
            objects=objects,
        )

    @property
    def train_tokens(self) -> int:
        """Tokens to train on, separators included."""
        return sum(block.tokens for block in self.train)

    @property
    def heldout_tokens(self) -> int:
        """Tokens held out, separators included."""
        return sum(block.tokens for block in self.heldout)

    @property
    def train_documents(self) -> int:
        """Documents to train on."""
        return sum(block.documents for block in self.train)

    @property
    def heldout_documents(self) -> int:
        """Documents held out."""
        return sum(block.documents for block in self.heldout)

    @property
    def tokenizers(self) -> dict[str, int]:
        """Number of objects by the implementation that encoded them."""
        return dict(Counter(item.tokenizer for item in self.objects))

    @property
    def lengths(self) -> Bands:
        """{n: (documents, tokens)} of those to train on with lengths in [2^n, 2^(n+1))."""
        documents = _sum({n: band[0] for n, band in item.lengths.items()} for item in self.objects)
        tokens = _sum({n: band[1] for n, band in item.lengths.items()} for item in self.objects)
        return {n: (count, tokens[n]) for n, count in documents.items()}

    def save(self, store: Store, path: str | None = None) -> None:
        """Write the manifest to a path (`manifest_path` if None), whole or not at all."""
        value = _facts(self) | {
            "format": FORMAT,
            "train_tokens": self.train_tokens,
            "heldout_tokens": self.heldout_tokens,
            "train": _pack(self.train),
            "heldout": _pack(self.heldout),
            # An object's blocks are the next so many of the lists above.
            "objects": [
                _facts(item) | {"train": len(item.train), "heldout": len(item.heldout)}
                for item in self.objects
            ],
        }
        store.write_bytes(path or manifest_path(self.name), sealed.dumps(value))

    @classmethod
    def load(cls, store: Store, name: str, path: str | None = None) -> SourceManifest:
        """Read a source's manifest, from `manifest_path` if no other path is given.

        Raises:
            UserError: there is none, it was not written by this version of the code, or it names
                shards that are elsewhere.
        """
        path = path or manifest_path(name)
        try:
            value = sealed.read(store, path)
        except FileNotFoundError:
            raise UserError(
                f"source {name!r} is not ingested: {store.uri(path)} does not exist"
            ) from None
        except ValueError as error:
            raise UserError(f"manifest {store.uri(path)} is damaged: {error}") from None
        if value.pop("format", None) != FORMAT:
            raise UserError(
                f"manifest {store.uri(path)} is of another format: run the ingest again"
            )
        try:
            return cls._from_json(value)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise UserError(f"manifest {store.uri(path)} is damaged: {error}") from None

    @classmethod
    def _from_json(cls, value: dict[str, Any]) -> SourceManifest:
        for derived in ("train_tokens", "heldout_tokens"):
            del value[derived]
        train, heldout = tuple(_unpack(value["train"])), tuple(_unpack(value["heldout"]))
        rest = iter(train), iter(heldout)
        objects = []
        for item in value["objects"]:
            taken = [tuple(islice(rest[i], item[part])) for i, part in enumerate(PARTS)]
            item = ObjectManifest.from_json(item | dict.fromkeys(PARTS, ()))
            objects.append(replace(item, train=taken[0], heldout=taken[1]))
        return cls(**(value | {"train": train, "heldout": heldout, "objects": tuple(objects)}))


def fingerprint_of(tokenizer: str, train: Sequence[Block], heldout: Sequence[Block]) -> str:
    """Hash of tokenised content, wherever and under whatever names it is stored.

    Two sources with the same fingerprint give the same rows. Copying the corpora, or only
    touching them, does not change it.
    """
    parts = [[_content(block) for block in part] for part in (train, heldout)]
    return hashlib.sha256(json.dumps([tokenizer, *parts]).encode()).hexdigest()[:16]


def _content(block: Block) -> list[Any]:
    facts: list[Any] = [block.documents, block.tokens, block.crc]
    return [*facts, block.left_out] if block.left_out else facts


def manifest_path(source: str) -> str:
    """Path of a source's manifest, relative to the store's root."""
    return f"{FOLDER}/{source}/manifest.json"


def _facts(value: ObjectManifest | SourceManifest) -> dict[str, Any]:
    """The fields that are plain JSON."""
    left_out = {"train", "heldout", "objects"}
    return {
        name: getattr(value, name) for name in value.__dataclass_fields__ if name not in left_out
    }


def _pack(blocks: Sequence[Block]) -> list[dict[str, Any]]:
    """Blocks grouped by shard, so that a path is written once per shard."""
    packed: list[dict[str, Any]] = []
    for block in blocks:
        if not packed or packed[-1]["shard"] != block.shard:
            packed.append({"shard": block.shard, "blocks": []})
        facts = [block.group, block.documents, block.tokens, block.crc]
        selected = [block.left_out, block.left_out_tokens] if block.left_out else []
        packed[-1]["blocks"].append(facts + selected)
    return packed


def _unpack(packed: Sequence[dict[str, Any]]) -> Iterable[Block]:
    return (_block(item["shard"], *facts) for item in packed for facts in item["blocks"])


def _block(
    shard: str,
    group: int,
    documents: int,
    tokens: int,
    crc: int | None,
    left_out: Sequence[int] = (),
    left_out_tokens: int = 0,
) -> Block:
    return Block(
        stored_path(shard, FOLDER), group, documents, tokens, crc, tuple(left_out), left_out_tokens
    )


def _sum(counts: Iterable[dict[Any, int]]) -> dict[Any, int]:
    total: Counter[Any] = Counter()
    for count in counts:
        total.update(count)
    return dict(sorted(total.items()))
