"""Questions of SCROLLS files, and their scores.

A SCROLLS file has a row for each reference: `id` of the question, `input` (question, blank line, document), `output`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from longspan.evaluate.metrics import exact_match, token_f1
from longspan.evaluate.suite_metrics import Rouge, rouge, rouge_geo_of_means
from longspan.hashing import content_id

if TYPE_CHECKING:
    from datasets import Dataset

LAST_OPTION = "(D)"

__all__ = ["choices", "questions", "score_em", "score_f1", "score_rouge"]


def questions(dataset: Dataset) -> Dataset:
    """Return one row for each question: id, context, question, answers, and cluster (identity of the context)."""
    return _merged(dataset, after="")


def choices(dataset: Dataset) -> Dataset:
    """Return the same for questions with four options, which are part of the question (QuALITY)."""
    return _merged(dataset, after=LAST_OPTION)


def score_f1(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """F1 with the best reference (SCROLLS: NarrativeQA, Qasper)."""
    return {"f1": token_f1(results[0], doc["answers"])}


def score_em(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Whether the reply is the right option's text (SCROLLS: QuALITY)."""
    return {"exact_match": exact_match(results[0], doc["answers"])}


def score_rouge(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """ROUGE-1, -2, -L, and both definitions of ROUGE-geo (SCROLLS: QMSum)."""
    found = rouge(results[0], doc["answers"])
    return {
        "rouge_1": found.rouge_1,
        "rouge_2": found.rouge_2,
        "rouge_l": found.rouge_l,
        "rouge_geo_per_reply": found.geometric_mean,
        "rouge_geo_of_means": found,
    }


def of_means(replies: Sequence[Rouge]) -> float:
    """See `rouge_geo_of_means`."""
    return rouge_geo_of_means(replies)


def _merged(dataset: Dataset, after: str) -> Dataset:
    rows: dict[str, dict[str, Any]] = {}
    for row in dataset:
        question, context = _split(row["input"], after)
        merged = rows.setdefault(
            str(row["id"]),
            {
                "id": str(row["id"]),
                "context": context,
                "question": question,
                "answers": [],
                "cluster": content_id(context),
            },
        )
        if row["output"] is not None:
            merged["answers"].append(str(row["output"]))
    unanswered = next((id for id, row in rows.items() if not row["answers"]), None)
    if unanswered is not None:
        raise ValueError(
            f"question {unanswered!r} has no answer (output); use a split with answers"
        )
    return type(dataset).from_list(list(rows.values()))


def _split(text: str, after: str) -> tuple[str, str]:
    """Question and document; the blank line between them is the first one after some text."""
    start = text.find(after)
    end = text.find("\n\n", start if start >= 0 else 0)
    if start < 0 or end < 0:
        raise ValueError(
            "input is not of SCROLLS' form: question, blank line, document"
            + (f"; {after} is missing" if start < 0 else "")
        )
    return text[:end].strip(), text[end:].strip()
