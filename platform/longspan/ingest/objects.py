"""One raw object into token shards: read, encode, split, write, and a manifest last."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any, Literal

import numpy as np

from longspan.corpus.bad_input import BadInput
from longspan.corpus.filters import LeftOut, facts
from longspan.corpus.format import extension_format
from longspan.corpus.sources import SourceSpec, format_of
from longspan.corpus.text_tokenizer import Tokenizer
from longspan.corpus.units import local, read_unit
from longspan.errors import UserError
from longspan.ingest.conversations import ConversationTokenizer
from longspan.shards.manifest import ObjectManifest, length_bands
from longspan.shards.token_shards import Block, write_flat_shard
from longspan.storage import LocalCopy, ObjectInfo, Store, sealed

FORMAT = 3
CHAT_FORMAT = 2
"""Of conversations: changes with what is made of them."""
BATCH_CHARACTERS = 2**20
SHARD_BLOCKS = 16
HASHED = 4096
# The fast tokenizer is compared with the reference on excerpts of so many characters, from each of
# the first documents and then one in so many characters. The reference is some 50 times slower, so
# that a share of 1/2000 costs little.
EXCERPT = 2048
EXCERPT_EVERY = 2000 * EXCERPT
EXCERPTS_FIRST = 4


@dataclass(frozen=True)
class Settings:
    """What decides, besides an object's content, what it becomes.

    Attributes:
        tokenizer: hash of the tokenizer's files.
        separator: the token that ends every document; None is the tokenizer's eos_token.
        heldout_fraction: share of the documents that never enter training, where a source sets none.
        block_tokens: tokens per block.
        template: hash of the chat template, where that has a file of its own.
        end_of_turn: the text that ends an answer of a conversation; None is the control token behind it.
    """

    tokenizer: str
    separator: str | None
    heldout_fraction: float
    block_tokens: int
    template: str = ""
    end_of_turn: str | None = None

    def heldout_of(self, spec: SourceSpec) -> float:
        """Share of a source's documents that never enter training."""
        own = spec.heldout_fraction
        return self.heldout_fraction if own is None else own

    def key(self, spec: SourceSpec, info: ObjectInfo) -> str:
        """Name of what one version of an object, or a repository, becomes with these settings."""
        of_chat = [self.template, self.end_of_turn, CHAT_FORMAT, spec.ignore_fields]
        parts = [
            FORMAT,
            info.path,
            info.version,
            *format_of(info.path, spec),
            spec.text_field,
            spec.min_tokens,
            spec.max_tokens,
            facts(spec.where),
            spec.repository and astuple(spec.repository),
            *(self.tokenizer, self.separator, self.heldout_of(spec), self.block_tokens),
            *(of_chat if spec.format == "chat" else []),
            *_of_extension(spec),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _of_extension(spec: SourceSpec) -> list[Any]:
    """Return the options and the version of a format that is an extension; both decide its documents."""
    found = extension_format(spec)
    return [found.version, dict(spec.format_options)] if found else []


def object_folder(spec: SourceSpec, info: ObjectInfo, key: str) -> str:
    """Folder of an object's shards, relative to the store's root."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", info.path.rsplit("/", 1)[-1])[:40]
    return f"shards/{spec.name}/{name}-{key}"


def object_manifest_path(folder: str) -> str:
    """The manifest in an object's folder; written last, it says that the shards are whole."""
    return f"{folder}/object.json"


def heldout_scores(texts: Sequence[str]) -> np.ndarray:
    """Numbers in [0, 1), float64 [texts], from a hash of each document's text.

    A document is held out when its score is below the fraction asked for; copies of a document
    have the same score, so that they fall on the same side. The hash is of a text's length and its
    beginning, which is enough for that and spares reading books twice.
    """
    digest = hashlib.sha256
    parts = (f"{len(text)} {text[:HASHED]}".encode() for text in texts)
    hashes = b"".join(digest(part).digest()[:8] for part in parts)
    return np.frombuffer(hashes, ">u8") / 2.0**64


class NotIdentical(Exception):
    """The fast tokenizer gave other ids than the reference for an excerpt of this object."""


def ingest_object(
    store: Store,
    spec: SourceSpec,
    info: ObjectInfo,
    settings: Settings,
    tokenizer: Tokenizer | ConversationTokenizer,
    bad_input: Literal["stop", "skip"],
    copy: LocalCopy | None = None,
) -> ObjectManifest:
    """Turn one raw object into shards below `object_folder`, and write its manifest.

    The object is read from `copy`, a local one, or from one that is made here.

    Raises:
        UserError: the object has bad input and `bad_input` is "stop"; or the store fails.
    """
    if copy is None:
        with local(store, info) as copy:
            return ingest_object(store, spec, info, settings, tokenizer, bad_input, copy)
    try:
        manifest = _ingest(store, spec, info, settings, tokenizer, bad_input, copy)
    except NotIdentical:
        # From the start, so that one object is encoded by one tokenizer.
        reference = tokenizer.reference()
        manifest = _ingest(store, spec, info, settings, reference, bad_input, copy)
    path = object_manifest_path(object_folder(spec, info, manifest.key))
    store.write_bytes(path, sealed.dumps(manifest.to_json()))
    return manifest


def _ingest(
    store: Store,
    spec: SourceSpec,
    info: ObjectInfo,
    settings: Settings,
    tokenizer: Tokenizer | ConversationTokenizer,
    bad_input: Literal["stop", "skip"],
    copy: LocalCopy,
) -> ObjectManifest:
    key = settings.key(spec, info)
    folder = object_folder(spec, info, key)
    train = _Split(store, f"{folder}/train", settings.block_tokens)
    heldout = _Split(store, f"{folder}/heldout", settings.block_tokens)
    skipped: Counter[str] = Counter()
    bad: list[BadInput] = []
    lengths = [np.empty(0, np.int64)]
    characters, lowest = 0, 1.0
    excerpts = _Excerpts()
    documents = read_unit(store, info, spec, copy)
    if isinstance(tokenizer, ConversationTokenizer):
        documents = tokenizer.checked(documents, info.path)
    for texts in _batches(_good(documents, skipped, bad, bad_input, spec)):
        if not tokenizer.verify(excerpts.of(texts)):
            raise NotIdentical
        tokens, sizes = _encode(tokenizer, texts)
        scores = heldout_scores(texts)
        empty = sizes == tokenizer.added
        short = ~empty & (sizes - tokenizer.added < spec.min_tokens)
        most = np.inf if spec.max_tokens is None else spec.max_tokens
        long = sizes - tokenizer.added > most
        kept = ~(empty | short | long)
        skipped["empty document"] += int(empty.sum())
        skipped["fewer than min_tokens"] += int(short.sum())
        skipped["more than max_tokens"] += int(long.sum())
        held = scores < settings.heldout_of(spec)
        train.add(tokens, sizes, kept & ~held)
        heldout.add(tokens, sizes, kept & held)
        lengths.append(sizes[kept & ~held])
        characters += sum(
            len(text) for text, keep in zip(texts, kept.tolist(), strict=True) if keep
        )
        lowest = min(lowest, float(scores.min(where=kept, initial=1.0)))
    skipped.update(item.reason for item in bad)
    return ObjectManifest(
        path=info.path,
        version=info.version,
        key=key,
        tokenizer=tokenizer.name,
        train=train.finish(),
        heldout=heldout.finish(),
        bytes=info.size,
        characters=characters,
        skipped={reason: count for reason, count in sorted(skipped.items()) if count},
        bad=len(bad),
        lengths=length_bands(np.concatenate(lengths)),
        lowest=lowest,
        verified=copy.verified,
    )


def _encode(
    tokenizer: Tokenizer | ConversationTokenizer, texts: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    try:
        return tokenizer.encode_flat(texts)
    except Exception as error:
        if tokenizer.name == "fastokens":
            raise NotIdentical from error
        raise


def _good(
    items: Iterable[str | LeftOut | BadInput],
    skipped: Counter[str],
    bad: list[BadInput],
    mode: str,
    spec: SourceSpec,
) -> Iterator[str]:
    """The documents; what is bad is put aside, or stops the job."""
    for item in items:
        if isinstance(item, str):
            yield item
        elif isinstance(item, LeftOut):
            skipped[item.reason] += item.count
        elif mode == "stop":
            raise UserError(
                f"corpora.{spec.name}: {item}; fix it, or set bad_input=skip to leave out and "
                "count what cannot be read"
            )
        else:
            bad.append(item)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Lists of documents of about `BATCH_CHARACTERS` each, to be encoded together."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Excerpts:
    """Chooses what the tokenizers are compared on; depends on nothing but the documents."""

    def __init__(self) -> None:
        self._documents = 0
        self._characters = 0
        self._due = 0

    def of(self, texts: list[str]) -> list[str]:
        chosen = []
        for text in texts:
            due = self._documents < EXCERPTS_FIRST or self._characters >= self._due
            count = due + len(text) // EXCERPT_EVERY
            for n in range(count):
                start = (2 * n + 1) * len(text) // (2 * count) - EXCERPT // 2
                start = max(0, min(start, len(text) - EXCERPT))
                chosen.append(text[start : start + EXCERPT])
            self._documents += 1
            self._characters += len(text)
            if count:
                self._due = self._characters + EXCERPT_EVERY
        return chosen


@dataclass
class _Split:
    """The documents of one side, written as shards of `SHARD_BLOCKS` blocks."""

    store: Store
    stem: str
    block_tokens: int
    blocks: list[Block] = field(default_factory=list)
    _pieces: list[np.ndarray] = field(default_factory=list)
    _lengths: list[np.ndarray] = field(default_factory=list)
    _tokens: int = 0
    _shards: int = 0

    def add(self, tokens: np.ndarray, lengths: np.ndarray, chosen: np.ndarray) -> None:
        """Take the chosen ones of some documents that lie one after another."""
        if not chosen.any():
            return
        ends = np.concatenate([[0], np.cumsum(lengths)])
        # Whole runs of documents, as one slice each: where `chosen` turns true, and false again.
        turns = np.flatnonzero(np.diff(chosen, prepend=False, append=False)).tolist()
        for first, last in zip(turns[::2], turns[1::2], strict=True):
            piece = tokens[ends[first] : ends[last]]
            self._pieces.append(piece)
            self._lengths.append(lengths[first:last])
            self._tokens += len(piece)
        if self._tokens >= SHARD_BLOCKS * self.block_tokens:
            self._write()

    def finish(self) -> tuple[Block, ...]:
        """Write what is left; returns all blocks."""
        if self._pieces:
            self._write()
        return tuple(self.blocks)

    def _write(self) -> None:
        path = f"{self.stem}-{self._shards:05d}.parquet"
        lengths = np.concatenate(self._lengths)
        self.blocks += write_flat_shard(self.store, path, self._pieces, lengths, self.block_tokens)
        self._pieces, self._lengths, self._tokens = [], [], 0
        self._shards += 1
