"""Raw objects into documents with their chunks: the first stage, on all CPUs of the cluster."""

from __future__ import annotations

import heapq
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, field
from typing import Any, Literal

from longspan.chat.tokenizer import ChatTokenizer, Encoded
from longspan.corpus import units
from longspan.corpus.bad_input import BadInput
from longspan.corpus.example_sets import SplitRule
from longspan.corpus.filters import LeftOut, facts
from longspan.corpus.resolve import resolve
from longspan.corpus.sources import SourceSpec, format_of
from longspan.corpus.units import read_unit
from longspan.errors import UserError
from longspan.generate.tables import write_rows
from longspan.hashing import content_id, text_id, uniform
from longspan.ingest.objects import heldout_scores
from longspan.instruct.chunking import cut
from longspan.instruct.tables import DOCUMENTS
from longspan.runtime.map_objects import Json, Report, Worker, run_on_all_cpus
from longspan.storage import ObjectInfo, Store, sealed

FORMAT = 1
GROUP_BYTES = 2**25
ROWS_PER_GROUP = 8
THREADS = 8


@dataclass(frozen=True)
class Choice:
    """What decides which documents and chunks are taken, and where chunks end.

    Attributes:
        folder: of the set in the store.
        tokenizer: the generator's.
        chunk_tokens: most tokens of a chunk.
        chunks_per_document: chunks to ask about; None is all.
        most: documents to take of each source, by its name.
        seed: of all choices.
        bad_input: "stop" at what cannot be read, or "skip" and count it.
        splits: rules of the sources that only some documents are taken of, by name.
    """

    folder: str
    tokenizer: ChatTokenizer
    chunk_tokens: int
    chunks_per_document: int | None
    most: dict[str, int]
    seed: int
    bad_input: Literal["stop", "skip"]
    splits: dict[str, SplitRule] = field(default_factory=dict)

    def key(self, spec: SourceSpec, info: ObjectInfo) -> str:
        """Name of what one version of an object becomes with these settings."""
        split = self.splits.get(spec.name)
        return content_id(
            FORMAT,
            [info.path, info.version, *format_of(info.path, spec), spec.text_field],
            [spec.min_tokens, spec.max_tokens, facts(spec.where)],
            spec.repository and astuple(spec.repository),
            [self.tokenizer.hash, self.chunk_tokens, self.chunks_per_document],
            [self.most[spec.name], self.seed, self.bad_input],
            *([] if split is None else [astuple(split)]),
        )

    def path(self, spec: SourceSpec, info: ObjectInfo) -> str:
        """The object's documents in the store, without a suffix."""
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", info.path.rsplit("/", 1)[-1])[:40]
        return f"{self.folder}/documents/{spec.name}-{name}-{self.key(spec, info)}"


@dataclass(frozen=True)
class DocumentFile:
    """What one raw object became.

    Attributes:
        path: its documents in the store; there is no such object where none was taken.
        corpus: the source's name.
        object: the raw object's path.
        counts: documents by what became of them.
        documents: those taken: id, score (the lowest are taken first), tokens, ids of chunks.
    """

    path: str
    corpus: str
    object: str
    counts: dict[str, int]
    documents: list[dict[str, Any]] = field(default_factory=list)


def gather(
    store: Store, specs: Sequence[SourceSpec], choice: Choice, log: Callable[[str], None]
) -> list[DocumentFile]:
    """Documents and chunks of all objects; what is there already is not read again.

    Raises:
        UserError: a source names no object, or has bad input (where that stops).
    """
    units_of = {spec.name: resolve(store, spec) for spec in specs}
    everything = [(spec, info) for spec in specs for info in units_of[spec.name]]
    with ThreadPoolExecutor(THREADS) as pool:
        known = pool.map(
            lambda task: recorded(store, task[0], task[1], choice.path(task[0], task[1])),
            everything,
        )
        before = list(zip(everything, known, strict=True))
    found = {(spec.name, info.path): done for (spec, info), done in before if done is not None}
    tasks = [task for task, done in before if done is None]
    if tasks:
        report = Report("documents", [info.size for _, info in tasks], log)
        sizes = {(spec.name, info.path): info.size for spec, info in tasks}
        items = [
            ({"source": spec.name, "info": units.to_json(info)}, info.size) for spec, info in tasks
        ]
        by_name = {spec.name: spec for spec in specs}
        for result in run_on_all_cpus(
            "documents", DocumentWorker, (store, by_name, choice), items, GROUP_BYTES, log
        ):
            done = DocumentFile(**result)
            found[done.corpus, done.object] = done
            tokens = sum(document["tokens"] for document in done.documents)
            report.add(sizes[done.corpus, done.object], tokens)
    return [found[spec.name, info.path] for spec, info in everything]


class DocumentWorker(Worker):
    """Reads an object, takes documents, cuts them into chunks."""

    def __init__(self, store: Store, specs: dict[str, SourceSpec], choice: Choice) -> None:
        os.environ["RAYON_NUM_THREADS"] = "1"  # The actor has one CPU.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self._store, self._specs, self._choice = store, specs, choice

    def work(self, item: Json) -> Json:
        """See `Worker.work`."""
        spec, info = self._specs[item["source"]], units.from_json(item["info"])
        return dict(vars(take(self._store, spec, info, self._choice)))


@dataclass(frozen=True, order=True)
class _Taken:
    """A document in the heap, the one with the highest score on top."""

    minus_score: float
    number: int
    id: str = field(compare=False)
    text: str = field(compare=False)
    encoded: Encoded = field(compare=False)


def take(store: Store, spec: SourceSpec, info: ObjectInfo, choice: Choice) -> DocumentFile:
    """Take documents of an object, and write them with their chunks.

    Raises:
        UserError: the object has bad input and that stops; or the store fails.
    """
    counts: Counter[str] = Counter()
    heap: list[_Taken] = []
    seen: set[str] = set()
    most, tokenizer = choice.most[spec.name], choice.tokenizer
    split = choice.splits.get(spec.name)
    for number, text in enumerate(_texts(store, spec, info, choice.bad_input, counts)):
        counts["read"] += 1
        document = text_id(text)
        score = uniform(choice.seed, document)
        full = len(heap) == most and score >= -heap[0].minus_score
        why = "empty" if not text.strip() else "repeated" if document in seen else None
        seen.add(document)
        if why is None and split is not None:
            why = split.why_left_out(float(heldout_scores([text])[0]))
        if why is None and full:
            why = "not chosen"
        if why is None and tokenizer.control_token_in(text):
            why = "spells out a control token"
        encoded = None if why else tokenizer.encode(text)
        if encoded is not None:
            why = _why_left_out(len(encoded), spec)
        if why or encoded is None:
            counts[why or "empty"] += 1
            continue
        heapq.heappush(heap, _Taken(-score, number, document, text, encoded))
        if len(heap) > most:
            heapq.heappop(heap)
            counts["not chosen"] += 1
    rows = [_row(taken, spec, info, choice) for taken in sorted(heap)]
    path = choice.path(spec, info)
    if rows:
        write_rows(store, f"{path}.parquet", rows, DOCUMENTS, ROWS_PER_GROUP)
    documents = [
        {
            "id": row["id"],
            "score": uniform(choice.seed, row["id"]),
            "tokens": row["tokens"],
            "chunks": [chunk["id"] for chunk in row["chunks"]],
        }
        for row in rows
    ]
    done = DocumentFile(f"{path}.parquet", spec.name, info.path, dict(counts), documents)
    store.write_bytes(f"{path}.json", sealed.dumps(dict(vars(done))))
    return done


def _texts(
    store: Store, spec: SourceSpec, info: ObjectInfo, bad_input: str, counts: Counter[str]
) -> Iterator[str]:
    with units.local(store, info) as copy:
        for item in read_unit(store, info, spec, copy):
            if isinstance(item, LeftOut):
                counts[item.reason] += item.count
            elif isinstance(item, BadInput):
                if bad_input == "stop":
                    raise UserError(f"corpora.{spec.name}: {item}; fix it, or set bad_input: skip")
                counts[item.reason] += 1
            else:
                yield item


def _why_left_out(tokens: int, spec: SourceSpec) -> str | None:
    if tokens == 0:
        return "empty"
    if tokens < spec.min_tokens:
        return "shorter than min_tokens"
    if spec.max_tokens is not None and tokens > spec.max_tokens:
        return "longer than max_tokens"
    return None


def _row(taken: _Taken, spec: SourceSpec, info: ObjectInfo, choice: Choice) -> dict[str, Any]:
    chunks = [
        vars(chunk) | {"id": content_id(taken.id, chunk.start, chunk.end)}
        for chunk in cut(taken.text, choice.tokenizer.encode, choice.chunk_tokens)
        if taken.text[chunk.start : chunk.end].strip()
    ]
    if choice.chunks_per_document is not None:
        chunks.sort(key=lambda chunk: uniform(choice.seed, chunk["id"]))
        chunks = sorted(chunks[: choice.chunks_per_document], key=lambda chunk: chunk["start"])
    return {
        "id": taken.id,
        "corpus": spec.name,
        "object": info.path,
        "number": taken.number,
        "tokens": len(taken.encoded),
        "text": taken.text,
        "chunks": chunks,
    }


def recorded(store: Store, spec: SourceSpec, info: ObjectInfo, path: str) -> DocumentFile | None:
    """The earlier result for one object; None if there is none, or it is recorded under another object's name."""
    try:
        found = DocumentFile(**sealed.read(store, f"{path}.json"))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    # A record must not choose which object is read in place of this one's documents.
    is_own = (found.path, found.corpus, found.object) == (f"{path}.parquet", spec.name, info.path)
    return found if is_own else None
