"""What a source became: its objects, their blocks of tokens, and what was left out."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from longspan.corpus.shards import Block
from longspan.errors import UserError
from longspan.storage import Store

FORMAT = 1


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
        bad: those of `skipped` that were bad input and not filtered by choice, by reason.
        lengths: number of documents kept by length; {n: count} counts lengths in [2^n, 2^(n+1)).
        lowest: smallest held-out score of a document kept, in [0, 1]; see `ingest`.
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
    bad: dict[str, int] = field(default_factory=dict)
    lengths: dict[int, int] = field(default_factory=dict)
    lowest: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """A JSON value that `from_json` reads; blocks are grouped by shard to keep it small."""
        value = {name: getattr(self, name) for name in self.__dataclass_fields__}
        value["train"], value["heldout"] = _pack(self.train), _pack(self.heldout)
        value["lengths"] = {str(n): count for n, count in sorted(self.lengths.items())}
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ObjectManifest:
        """The inverse of `to_json`."""
        value = dict(value)
        value["train"], value["heldout"] = _unpack(value["train"]), _unpack(value["heldout"])
        value["lengths"] = {int(n): count for n, count in value["lengths"].items()}
        return cls(**value)


@dataclass(frozen=True)
class SourceManifest:
    """What one source became: the sum of its objects.

    Attributes:
        name: the source's name in the recipe.
        tokenizer: hash of the tokenizer's files.
        separator: the token that ends every document; None is the tokenizer's end-of-text token.
        objects: one entry per raw object, sorted by path.
    """

    name: str
    tokenizer: str
    separator: str | None = None
    objects: tuple[ObjectManifest, ...] = ()

    @cached_property
    def train(self) -> tuple[Block, ...]:
        """Blocks to train on, in the order of the objects."""
        return tuple(block for item in self.objects for block in item.train)

    @cached_property
    def heldout(self) -> tuple[Block, ...]:
        """Blocks that never enter training, in the order of the objects."""
        return tuple(block for item in self.objects for block in item.heldout)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the tokenised content, wherever and under whatever names it is stored.

        Two manifests with the same fingerprint give the same rows. Copying the corpora, or only
        touching them, does not change it.
        """
        content = [
            self.tokenizer,
            self.separator,
            *([[b.documents, b.tokens, b.crc] for b in part] for part in (self.train, self.heldout)),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

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
    def characters(self) -> int:
        """Characters of the documents kept."""
        return sum(item.characters for item in self.objects)

    @property
    def bytes(self) -> int:
        """Size of the raw objects as stored."""
        return sum(item.bytes for item in self.objects)

    @property
    def skipped(self) -> dict[str, int]:
        """Number of documents left out, by reason."""
        return _sum(item.skipped for item in self.objects)

    @property
    def tokenizers(self) -> dict[str, int]:
        """Number of objects by the implementation that encoded them."""
        return dict(Counter(item.tokenizer for item in self.objects))

    @property
    def lengths(self) -> dict[int, int]:
        """Number of documents kept by length; {n: count} counts lengths in [2^n, 2^(n+1))."""
        return dict(sorted(_sum(item.lengths for item in self.objects).items()))

    def save(self, store: Store) -> None:
        """Write the manifest to `manifest_path`, whole or not at all."""
        value = {
            "format": FORMAT,
            "name": self.name,
            "fingerprint": self.fingerprint,
            "tokenizer": self.tokenizer,
            "separator": self.separator,
            # For people and other tools: `load` computes these from the objects.
            "train_tokens": self.train_tokens,
            "heldout_tokens": self.heldout_tokens,
            "train_documents": self.train_documents,
            "heldout_documents": self.heldout_documents,
            "skipped": self.skipped,
            "objects": [item.to_json() for item in self.objects],
        }
        store.write_bytes(manifest_path(self.name), json.dumps(value).encode() + b"\n")

    @classmethod
    def load(cls, store: Store, name: str) -> SourceManifest:
        """Read a source's manifest.

        Raises:
            UserError: there is none, or it was not written by this version of the code.
        """
        path = manifest_path(name)
        try:
            value = json.loads(store.read_bytes(path))
        except FileNotFoundError:
            raise UserError(
                f"source {name!r} is not ingested: {store.uri(path)} does not exist"
            ) from None
        except ValueError as error:
            raise UserError(f"manifest {store.uri(path)} is not JSON: {error}") from None
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise UserError(
                f"manifest {store.uri(path)} is not of format {FORMAT}: run the ingest again"
            )
        objects = tuple(ObjectManifest.from_json(item) for item in value["objects"])
        manifest = cls(value["name"], value["tokenizer"], value["separator"], objects)
        if manifest.fingerprint != value["fingerprint"]:
            raise UserError(
                f"manifest {store.uri(path)} is corrupt: its fingerprint does not match its blocks; "
                "delete it and run the ingest again"
            )
        return manifest


def manifest_path(source: str) -> str:
    """Path of a source's manifest, relative to the store's root."""
    return f"shards/{source}/manifest.json"


def _pack(blocks: Sequence[Block]) -> list[dict[str, Any]]:
    packed: list[dict[str, Any]] = []
    for block in blocks:
        if not packed or packed[-1]["shard"] != block.shard:
            packed.append({"shard": block.shard, "blocks": []})
        packed[-1]["blocks"].append([block.group, block.documents, block.tokens, block.crc])
    return packed


def _unpack(packed: list[dict[str, Any]]) -> tuple[Block, ...]:
    return tuple(Block(item["shard"], *facts) for item in packed for facts in item["blocks"])


def _sum(counts: Iterable[dict[Any, int]]) -> dict[Any, int]:
    total: Counter[Any] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)
