"""Questions of ZeroSCROLLS files, and their scores.

A row has `id`, `input` (the whole prompt), `output`, the places of the document in the prompt
(`document_start_index`, `document_end_index`), and the text that follows a shortened document
(`truncation_seperator`, as it is spelled there).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from longspan.evaluate.metrics import token_f1
from longspan.evaluate.suite_metrics import (
    choice_letter,
    concordance,
    exponential_similarity,
    rouge,
)
from longspan.evaluate.suites.prompts import DOCUMENT, SEPARATOR
from longspan.hashing import content_id

if TYPE_CHECKING:
    from datasets import Dataset


def prompts(dataset: Dataset) -> Dataset:
    """Return one row for each prompt: id, prompt, answers, cluster, and the place of its document."""
    rows: dict[str, dict[str, Any]] = {}
    for row in dataset:
        text, id = row["input"], str(row["id"])
        start, end = int(row["document_start_index"]), int(row["document_end_index"])
        if not row["output"]:
            raise ValueError(f"prompt {id!r} has no answer (output); use the validation split")
        merged = rows.setdefault(
            id,
            {
                "id": id,
                "prompt": text,
                "answers": [],
                "cluster": content_id(text[start:end]),
                DOCUMENT: [start, end],
                SEPARATOR: row.get("truncation_seperator") or "",
            },
        )
        merged["answers"].append(str(row["output"]))
    return type(dataset).from_list(list(rows.values()))


def score_f1(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """F1 with the best reference, in ASCII (Qasper, NarrativeQA, MuSiQue)."""
    return {"f1": token_f1(results[0], doc["answers"], ascii_only=True)}


def score_rouge(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """ROUGE, and both definitions of ROUGE-geo (GovReport, SummScreenFD, QMSum, SQuALITY)."""
    found = rouge(results[0], doc["answers"])
    return {
        "rouge_1": found.rouge_1,
        "rouge_2": found.rouge_2,
        "rouge_l": found.rouge_l,
        "rouge_geo_per_reply": found.geometric_mean,
        "rouge_geo_of_means": found,
    }


def score_letter(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Whether the first letter that stands by itself is the right one (QuALITY)."""
    return {"accuracy": choice_letter(results[0], doc["answers"][0])}


def score_percentage(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Exponential similarity of percentages (SpaceDigest)."""
    return {"exponential_similarity": exponential_similarity(results[0], doc["answers"][0])}


def score_order(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Share of pairs in the right order (BookSumSort)."""
    right = [int(number) for number in re.findall(r"\d+", doc["answers"][0])]
    return {"c_index": concordance(results[0], right)}
