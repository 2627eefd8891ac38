"""Question-answer pairs about held-out documents, out of a set of self-instruct examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from longspan.corpus.example_sets import read_splits
from longspan.errors import UserError
from longspan.evaluate.documents import Document
from longspan.generate.tables import each_row
from longspan.hashing import content_id, text_id, uniform
from longspan.ingest.objects import heldout_scores
from longspan.storage import Store

KEY = "own_documents.set"


@dataclass(frozen=True)
class Pair:
    """A question about a chunk of a document, with its answer.

    Attributes:
        id: of the example.
        question: as self-instruct asked it.
        answer: the generator's, which its critique approved of.
        style: "short": an answer of a few words; "normal": of a few sentences.
        document: id of the document.
        chunk: characters [from, to) of the document that the question is about.
    """

    id: str
    question: str
    answer: str
    style: str
    document: str
    chunk: tuple[int, int]


@dataclass(frozen=True)
class PairSet:
    """Pairs, and the documents that they are about.

    Attributes:
        hash: identity of all.
        pairs: in the order of a hash.
        documents: by id.
    """

    hash: str
    pairs: tuple[Pair, ...]
    documents: Mapping[str, Document]


def set_folder(name: str) -> str:
    """Return the folder in the store of a set of self-instruct."""
    return f"instruct/{name}"


def load_pairs(
    store: Store, name: str, heldout_fractions: Mapping[str, float], max_pairs: int
) -> PairSet:
    """Return pairs of a set whose documents are all held out of training.

    Args:
        store: where sets are.
        name: of the set.
        heldout_fractions: share of each source's documents that training held out, by the source's name.
        max_pairs: most pairs to take, chosen by a hash.

    Raises:
        UserError: there is no such set, or one of its documents is not held out.
    """
    folder = set_folder(name)
    rules = read_splits(store, folder)
    if rules is None:
        raise UserError(
            f"{KEY}: {store.uri(folder)} holds no finished set of self-instruct; make it with longspan self-instruct"
        )
    rows = list(_rows(store, folder))
    for corpus in sorted({row["corpus"] for row in rows}):
        rule = rules.get(corpus)
        if rule is None or rule.split != "heldout":
            raise UserError(
                f"{KEY}: {name!r} asks about documents of {corpus!r} that training may have seen; make a set whose "
                "corpora have split: heldout"
            )
        if corpus not in heldout_fractions:
            raise UserError(
                f"{KEY}: {name!r} asks about documents of {corpus!r}, which is no source of this evaluation; add it to "
                "corpora, under this name"
            )
    rows.sort(key=lambda row: uniform("pairs", row["id"]))
    pairs = tuple(_pair(row) for row in rows[:max_pairs])
    documents = _documents(store, folder, {pair.document for pair in pairs})
    for document in documents.values():
        _require_heldout(name, document, heldout_fractions[document.corpus])
    if missing := sorted({pair.document for pair in pairs} - set(documents)):
        raise UserError(
            f"{KEY}: {store.uri(folder)}/documents lacks document {missing[0]}; run its self-instruct job again"
        )
    identity = content_id("pairs", [[pair.id, pair.document, *pair.chunk] for pair in pairs])
    return PairSet(identity, pairs, documents)


def _rows(store: Store, folder: str) -> Iterator[dict[str, Any]]:
    for item in store.list(f"{folder}/examples/*.parquet"):
        yield from each_row(store, item.path)


def _pair(row: Mapping[str, Any]) -> Pair:
    span = row["chunk_span"]
    answer = row["messages"][-1]["content"]
    return Pair(
        row["id"],
        row["question"],
        answer,
        row["style"],
        row["document"],
        (span["start"], span["end"]),
    )


def _documents(store: Store, folder: str, ids: set[str]) -> dict[str, Document]:
    """Documents of a set by id: the texts that its job has stored."""
    found: dict[str, Document] = {}
    for item in store.list(f"{folder}/documents/*.parquet"):
        for row in each_row(store, item.path):
            if row["id"] in ids and text_id(row["text"]) == row["id"]:
                found[row["id"]] = Document(row["id"], row["corpus"], row["object"], row["text"])
    return dict(sorted(found.items()))


def _require_heldout(name: str, document: Document, fraction: float) -> None:
    if float(heldout_scores([document.text])[0]) >= fraction:
        raise UserError(
            f"{KEY}: {name!r} asks about document {document.id} of {document.corpus!r} ({document.origin}), which is "
            f"not held out at heldout_fraction {fraction:g}; make the set with the evaluation's heldout_fraction, "
            "or a smaller one"
        )
