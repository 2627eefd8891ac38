"""Held-out documents of a recipe's corpora: those that training leaves out, read on all CPUs, and kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from longspan.corpus import units
from longspan.corpus.resolve import resolve
from longspan.errors import UserError
from longspan.evaluate.document_files import read_documents, write_documents
from longspan.evaluate.documents import Document
from longspan.evaluate.heldout_objects import (
    FOLDER,
    HeldoutChoice,
    HeldoutSource,
    HeldoutWorker,
    Part,
    recorded,
    take,
)
from longspan.hashing import content_id
from longspan.ingest.objects import heldout_scores
from longspan.runtime.map_objects import Report, run_on_all_cpus
from longspan.storage import ObjectInfo, Store, sealed

GROUP_BYTES = 2**25
THREADS = 8


@dataclass(frozen=True)
class HeldoutDocuments:
    """Documents that were gathered.

    Attributes:
        documents: by source, and then by their scores.
        counts: documents of each source by what became of them ("taken", "for training", ...).
    """

    documents: tuple[Document, ...]
    counts: dict[str, dict[str, int]]


Unit = tuple[HeldoutSource, ObjectInfo]


def gather(
    store: Store, choice: HeldoutChoice, log: Callable[[str], None], *, on_cluster: bool = True
) -> HeldoutDocuments:
    """Return the held-out documents of all sources.

    The rule is that of training (`heldout_scores`): a document is held out if its score, a hash of its text,
    is below the source's fraction. Of those, the `max_documents` with the lowest scores are taken, so that
    neither their order nor the number of objects matters, and a larger fraction keeps them.

    Nothing is read again that was read before with the same choice.

    Args:
        store: where raw objects are, and where the documents are kept.
        choice: which documents are taken.
        log: takes lines on the progress.
        on_cluster: read on all CPUs of the Ray cluster; else in this process.

    Raises:
        UserError: a source names no object, has bad input (if that stops), or has no held-out document.
    """
    _require_documents(choice)
    everything = [
        (source, info) for source in choice.sources for info in resolve(store, source.spec)
    ]
    key = content_id([choice.path(source, info) for source, info in everything])
    path = f"{FOLDER}/{key}"
    kept = _kept(store, path)
    if kept is not None:
        return kept
    with ThreadPoolExecutor(THREADS) as pool:
        before = list(pool.map(lambda unit: recorded(store, choice, *unit), everything))
    known = {choice.path(*unit): part for unit, part in zip(everything, before, strict=True)}
    missing = [unit for unit in everything if known[choice.path(*unit)] is None]
    if missing:
        read = _read(store, choice, missing, log, on_cluster)
        known |= {part.path.removesuffix(".parquet"): part for part in read}
    parts = [part for unit in everything if (part := known[choice.path(*unit)]) is not None]
    found = _merged(store, choice, parts)
    _write(store, path, found)
    return found


def _read(
    store: Store,
    choice: HeldoutChoice,
    missing: Sequence[Unit],
    log: Callable[[str], None],
    on_cluster: bool,
) -> Iterator[Part]:
    """Take the documents of objects that were not read before."""
    report = Report("held-out documents", [info.size for _, info in missing], log)
    sizes = {(source.spec.name, info.path): info.size for source, info in missing}
    here = (take(store, choice, *unit) for unit in missing)
    for part in _on_cluster(store, choice, missing, log) if on_cluster else here:
        report.add(sizes[part.corpus, part.origin], 0)
        yield part


def _on_cluster(
    store: Store, choice: HeldoutChoice, missing: Sequence[Unit], log: Callable[[str], None]
) -> Iterator[Part]:
    """Take the documents on all CPUs of the cluster."""
    items = [
        ({"source": source.spec.name, "info": units.to_json(info)}, info.size)
        for source, info in missing
    ]
    arguments = (store, choice)
    for result in run_on_all_cpus(
        "held-out documents", HeldoutWorker, arguments, items, GROUP_BYTES, log
    ):
        yield Part.from_json(result)


def _require_documents(choice: HeldoutChoice) -> None:
    for source in choice.sources:
        spec = source.spec
        if spec.format == "chat":
            raise UserError(
                f"corpora.{spec.name}.format: chat has conversations, and probes are made from documents; leave the "
                "source out"
            )
        if spec.min_tokens or spec.max_tokens is not None:
            raise UserError(
                f"corpora.{spec.name}.min_tokens, max_tokens: would make the documents depend on one model's "
                "tokenizer; use min_characters"
            )


def _merged(store: Store, choice: HeldoutChoice, parts: Sequence[Part]) -> HeldoutDocuments:
    """The documents with the lowest scores of each source, each once."""
    documents: list[Document] = []
    counts: dict[str, dict[str, int]] = {}
    known: set[str] = set()
    for source in choice.sources:
        own = [part for part in parts if part.corpus == source.spec.name]
        total = sum((Counter(part.counts) for part in own), Counter())
        ranked = sorted(
            (score, id, part.path)
            for part in own
            for score, id in part.documents
            if id not in known
        )
        chosen: dict[str, str] = {}
        for _, id, path in ranked:
            if len(chosen) < source.max_documents:
                chosen.setdefault(id, path)
        if not chosen:
            raise UserError(_none_held_out(source, total, min(part.lowest for part in own)))
        total["taken"] = len(chosen)
        # What is neither taken nor left out for a reason of its own has a higher score, or is a copy.
        beyond = sum(len(part.documents) for part in own) - len(chosen)
        total["beyond max_documents"] += beyond
        counts[source.spec.name] = {why: count for why, count in sorted(total.items()) if count}
        known |= chosen.keys()
        by_id = {
            document.id: document
            for path in sorted(set(chosen.values()))
            for document in read_documents(store, path)
            if chosen.get(document.id) == path
        }
        documents += [by_id[id] for id in chosen]
    return HeldoutDocuments(tuple(documents), counts)


def _none_held_out(source: HeldoutSource, counts: Counter[str], lowest: float) -> str:
    name, read = source.spec.name, counts["read"]
    reasons = {why: count for why, count in counts.items() if why not in ("read", "for training")}
    if counts["for training"] + counts["empty"] < read or not read:
        left_out = ", ".join(f"{count:,} {why}" for why, count in sorted(reasons.items()))
        return (
            f"corpora.{name}: no held-out document is left of {read:,} documents ({left_out or 'nothing else'}), or "
            "other sources have the same ones; leave the source out, or lower min_characters"
        )
    return (
        f"corpora.{name}.heldout_fraction: none of its {read:,} documents is held out at {source.fraction:g}; the "
        f"first would be above {lowest:.4g}. Give the fraction that training used, or leave the source out: all other "
        "documents were trained on"
    )


def _write(store: Store, path: str, found: HeldoutDocuments) -> None:
    """Write the documents, and last a record that says that they are whole."""
    scores = heldout_scores([document.text for document in found.documents]).tolist()
    write_documents(store, f"{path}.parquet", found.documents, scores)
    store.write_bytes(f"{path}.json", sealed.dumps({"counts": found.counts}))


def _kept(store: Store, path: str) -> HeldoutDocuments | None:
    try:
        counts = sealed.read(store, f"{path}.json")["counts"]
        return HeldoutDocuments(tuple(read_documents(store, f"{path}.parquet")), counts)
    except (FileNotFoundError, ValueError):
        return None
