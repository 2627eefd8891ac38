"""Closed questions of L-Eval files, and their scores.

A row has a document (`input`), questions (`instructions`), and as many right answers (`outputs`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from longspan.evaluate.metrics import exact_match, token_f1
from longspan.evaluate.suite_metrics import multi_select
from longspan.hashing import content_id

if TYPE_CHECKING:
    from datasets import Dataset


def questions(dataset: Dataset) -> Dataset:
    """Return one row for each question: id, context, question, answer, and cluster (identity of the context)."""
    rows: list[dict[str, Any]] = []
    for row in dataset:
        context, cluster = row["input"], content_id(row["input"])
        for number, (question, answer) in enumerate(
            zip(row["instructions"], row["outputs"], strict=True)
        ):
            rows.append(
                {
                    "id": f"{cluster}-{number}",
                    "context": context,
                    "question": question,
                    "answers": [str(answer)],
                    "cluster": cluster,
                }
            )
    return type(dataset).from_list(rows)


def score_letters(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Letters of the right choice; 0.25 for some of several (Coursera, TPO, QuALITY)."""
    return {"exam": multi_select(results[0], doc["answers"][0])}


def score_number(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Whether the last number of the reply is the last one of the answer (GSM)."""
    given, right = (_numbers(text) for text in (results[0], doc["answers"][0]))
    return {"exam": float(bool(given) and given[-1:] == right[-1:])}


def score_truth(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Whether the first "true" or "false" of the reply is the first one of the answer (SFiction)."""
    given, right = (
        re.search(r"\b(true|false)\b", text.lower()) for text in (results[0], doc["answers"][0])
    )
    return {"exam": float(bool(given and right and given[1] == right[1]))}


def score_exact(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Exact match and F1 after normalization (TopicRet, CodeU)."""
    return {
        "exact_match": exact_match(results[0], doc["answers"]),
        "f1": token_f1(results[0], doc["answers"]),
    }


def _numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", ""))]
