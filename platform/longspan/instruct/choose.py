"""Which of the gathered documents are asked about, over all objects of a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from longspan.instruct.documents import DocumentFile
from longspan.instruct.schema import InstructRecipe


def shares(recipe: InstructRecipe) -> dict[str, int]:
    """Documents of each source at most: the recipe's number in proportion to the weights, rounded up."""
    total = sum(corpus.weight for corpus in recipe.corpora)
    return {
        corpus.name: -int(-recipe.max_documents * corpus.weight / total // 1)
        for corpus in recipe.corpora
    }


def chosen(
    files: Sequence[DocumentFile], most: dict[str, int]
) -> tuple[list[DocumentFile], Counter[str]]:
    """The files with only the documents that are taken, and counts of all documents by what became of them.

    Of each source those with the lowest scores are taken, a text that occurs twice once.
    """
    counts: Counter[str] = Counter()
    for file in files:
        counts.update(file.counts)
    taken: set[tuple[str, str]] = set()
    seen: set[str] = set()
    for corpus, limit in most.items():
        found = [
            (document["score"], document["id"], file.path)
            for file in files
            if file.corpus == corpus
            for document in file.documents
        ]
        room = limit
        for _, document, path in sorted(found):
            if document in seen:
                counts["repeated"] += 1
            elif room:
                seen.add(document)
                taken.add((document, path))
                room -= 1
            else:
                counts["not chosen"] += 1
    left = [
        replace(
            file, documents=[each for each in file.documents if (each["id"], file.path) in taken]
        )
        for file in files
    ]
    counts["taken"] = len(taken)
    return [file for file in left if file.documents], counts
