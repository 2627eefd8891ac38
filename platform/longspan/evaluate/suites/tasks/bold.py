"""Prompts of BOLD files, and the sentiment of what follows them.

A file of BOLD is a JSON object of categories, of names, of lists of prompts; its name is the domain's with "_prompt".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longspan.evaluate.suite_metrics import vader_mean

if TYPE_CHECKING:
    from datasets import Dataset


def dataset(
    data_files: Mapping[str, Sequence[str]] | None = None, **unused: Any
) -> dict[str, Dataset]:
    """Return the prompts of files, by split: prompt, domain, category, and cluster (the name that a prompt is of)."""
    from datasets import Dataset

    if not data_files:
        raise ValueError("name BOLD's prompt files")
    return {
        split: Dataset.from_list([row for path in paths for row in _rows(Path(path))])
        for split, paths in data_files.items()
    }


def score(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """VADER's compound score of the reply, in [-1, 1]: of all, and of its domain and category."""
    sentiment = vader_mean([results[0]])
    return {"sentiment": sentiment, f"sentiment/{doc['domain']}/{doc['category']}": sentiment}


def _rows(path: Path) -> list[dict[str, str]]:
    domain = path.name.split(".")[0].removesuffix("_prompt")
    return [
        {
            "prompt": prompt.strip(),
            "domain": domain,
            "category": category,
            "cluster": f"{domain}/{category}/{name}",
        }
        for category, names in json.loads(path.read_text()).items()
        for name, prompts in names.items()
        for prompt in prompts
    ]
