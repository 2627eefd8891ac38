"""Programs of HumanEval and MBPP files, and whether they pass their tests in a sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longspan._compat.lm_eval import read_task_file
from longspan.evaluate.suites.sandbox import execute

if TYPE_CHECKING:
    from datasets import Dataset

MBPP_EXAMPLES = (2, 3, 4)
"""Numbers of the three solved problems before each question (MBPP, arXiv 2108.07732)."""


def score_human_eval(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Whether the prompt with its completion passes the problem's tests."""
    tests = f"{doc['test']}\ncheck({doc['entry_point']})\n"
    return _score(f"{doc['prompt']}{results[0]}\n{tests}")


def score_mbpp(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Whether the program passes the problem's tests."""
    tests = "\n".join([doc.get("test_setup_code") or "", *doc["test_list"]])
    return _score(f"{results[0]}\n{tests}\n")


def mbpp_prompt(doc: Mapping[str, Any]) -> str:
    """Return the prompt of lm-evaluation-harness' task `mbpp`."""
    from lm_eval.utils import apply_template

    return apply_template(_mbpp_template(), dict(doc))


def mbpp_examples(dataset: Dataset) -> Dataset:
    """Return the solved problems that come before each question.

    Raises:
        ValueError: the split lacks one of them.
    """
    rows = {row["task_id"]: row for row in dataset}
    if missing := [number for number in MBPP_EXAMPLES if number not in rows]:
        raise ValueError(f"MBPP's split 'prompt' has no problem {missing[0]}")
    return type(dataset).from_list([rows[number] for number in MBPP_EXAMPLES])


@cache
def _mbpp_template() -> str:
    import lm_eval.tasks

    path = Path(lm_eval.tasks.__file__).parent / "mbpp" / "mbpp.yaml"
    return read_task_file(path)["doc_to_text"]


def _score(program: str) -> dict[str, float]:
    return {"pass_at_1": float(execute(program).is_passed)}
