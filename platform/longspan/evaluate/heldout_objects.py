"""Held-out documents of one raw object: which are taken, and the record of it."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any, Literal

from longspan.corpus import units
from longspan.corpus.bad_input import BadInput
from longspan.corpus.filters import LeftOut, facts
from longspan.corpus.sources import SourceSpec, format_of
from longspan.errors import UserError
from longspan.evaluate.document_files import write_documents
from longspan.evaluate.documents import Document
from longspan.hashing import content_id
from longspan.ingest.objects import heldout_scores
from longspan.runtime.map_objects import Json, Worker
from longspan.storage import ObjectInfo, Store, sealed

FORMAT = 1
FOLDER = "evaluate/documents"


@dataclass(frozen=True)
class HeldoutSource:
    """A source of held-out documents.

    Attributes:
        spec: the source; its `min_tokens` and `max_tokens` are not used, since documents must not depend on
            the tokenizer of one of the models that are compared.
        fraction: share of its documents that training left out.
        max_documents: documents to take, at most.
        min_characters: shorter documents are left out.
    """

    spec: SourceSpec
    fraction: float
    max_documents: int
    min_characters: int = 0

    def key(self, info: ObjectInfo) -> list[Any]:
        """All that decides what is taken of one version of an object."""
        spec = self.spec
        return [
            *(FORMAT, spec.name, info.path, info.version, *format_of(info.path, spec)),
            *(spec.text_field, facts(spec.where), spec.repository and astuple(spec.repository)),
            *(self.fraction, self.max_documents, self.min_characters),
        ]


@dataclass(frozen=True)
class HeldoutChoice:
    """Choice of documents.

    Attributes:
        sources: where they are from.
        control_tokens: of all models that read them; documents that spell one out are left out.
        bad_input: "stop" at what cannot be read, or "skip" and count it.
    """

    sources: tuple[HeldoutSource, ...]
    control_tokens: tuple[str, ...] = ()
    bad_input: Literal["stop", "skip"] = "skip"

    def path(self, source: HeldoutSource, info: ObjectInfo) -> str:
        """Path in the store of the documents that are taken of one object, without a suffix."""
        key = content_id(source.key(info), sorted(self.control_tokens), self.bad_input)
        return f"{FOLDER}/parts/{source.spec.name}-{key}"


@dataclass(frozen=True)
class Part:
    """Documents that were taken of one object.

    Attributes:
        path: the documents in the store; there is no such object if none was taken.
        corpus: name of the source.
        origin: path of the raw object.
        counts: documents by what became of them.
        lowest: lowest score of its documents; 1 if it has none.
        documents: score and id of those taken, the lowest first.
    """

    path: str
    corpus: str
    origin: str
    counts: dict[str, int]
    lowest: float
    documents: list[tuple[float, str]] = field(default_factory=list)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Part:
        """Return the part that a JSON value states."""
        documents = [(float(score), str(id)) for score, id in value["documents"]]
        return cls(**(value | {"documents": documents}))


def take(store: Store, choice: HeldoutChoice, source: HeldoutSource, info: ObjectInfo) -> Part:
    """Take the held-out documents of one object, and write them.

    Raises:
        UserError: the object has bad input and that stops; or the store fails.
    """
    counts: Counter[str] = Counter()
    heap: list[tuple[float, str, str]] = []
    taken: set[str] = set()
    lowest = 1.0
    for text in _texts(store, source.spec, info, choice.bad_input, counts):
        counts["read"] += 1
        if not text.strip():
            counts["empty"] += 1
            continue
        score = float(heldout_scores([text])[0])
        lowest = min(lowest, score)
        why = _why_left_out(text, score, source, choice.control_tokens)
        document = content_id(text) if why is None else ""
        if why is None and document in taken:
            why = "repeated"
        if why is not None:
            counts[why] += 1
            continue
        # The highest score is on top, to be replaced first.
        heapq.heappush(heap, (-score, document, text))
        taken.add(document)
        if len(heap) > source.max_documents:
            taken.discard(heapq.heappop(heap)[1])
            counts["beyond max_documents"] += 1
    rows = sorted((-minus, document, text) for minus, document, text in heap)
    stem = choice.path(source, info)
    part = Part(
        f"{stem}.parquet",
        source.spec.name,
        info.path,
        dict(counts),
        lowest,
        [(score, document) for score, document, _ in rows],
    )
    if rows:
        documents = [Document(id, part.corpus, part.origin, text) for _, id, text in rows]
        write_documents(store, part.path, documents, [score for score, _, _ in rows])
    store.write_bytes(f"{stem}.json", sealed.dumps(dict(vars(part))))
    return part


def recorded(
    store: Store, choice: HeldoutChoice, source: HeldoutSource, info: ObjectInfo
) -> Part | None:
    """Return what was taken of an object before; None if nothing was, or it is another object's record."""
    stem = choice.path(source, info)
    try:
        part = Part.from_json(sealed.read(store, f"{stem}.json"))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    # A record must not choose which object is read in place of this one's documents.
    is_own = (part.path, part.corpus, part.origin) == (
        f"{stem}.parquet",
        source.spec.name,
        info.path,
    )
    return part if is_own else None


class HeldoutWorker(Worker):
    """Takes the held-out documents of objects."""

    def __init__(self, store: Store, choice: HeldoutChoice) -> None:
        self._store, self._choice = store, choice
        self._sources = {source.spec.name: source for source in choice.sources}

    def work(self, item: Json) -> Json:
        """See `Worker.work`."""
        source, info = self._sources[item["source"]], units.from_json(item["info"])
        return dict(vars(take(self._store, self._choice, source, info)))


def _texts(
    store: Store, spec: SourceSpec, info: ObjectInfo, bad_input: str, counts: Counter[str]
) -> Iterator[str]:
    with units.local(store, info) as copy:
        for item in units.read_unit(store, info, spec, copy):
            if isinstance(item, LeftOut):
                counts[item.reason] += item.count
            elif isinstance(item, BadInput):
                if bad_input == "stop":
                    raise UserError(f"corpora.{spec.name}: {item}; fix it, or set bad_input: skip")
                counts[item.reason] += 1
            else:
                yield item


def _why_left_out(
    text: str, score: float, source: HeldoutSource, control_tokens: Sequence[str]
) -> str | None:
    if score >= source.fraction:
        return "for training"
    if len(text) < source.min_characters:
        return "shorter than min_characters"
    if any(token in text for token in control_tokens):
        return "spells out a control token"
    return None
