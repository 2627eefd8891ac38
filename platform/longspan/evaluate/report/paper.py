"""Numbers that "Effective Long-Context Scaling of Foundation Models" (arXiv 2309.16039v3) prints.

They are shown beside measured ones only where metric, shots, prompts' length and template are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longspan.evaluate.results import SuiteResult, TaskResult, Template
from longspan.evaluate.suites.schema import PromptCut

SIZES = ("7B", "13B", "34B", "70B")
"""Of the paper's models, in the order of the values below."""


@dataclass(frozen=True)
class PaperScore:
    """Scores of the paper's models in one setting.

    Attributes:
        tasks: names of the task here and in lm-evaluation-harness.
        metrics: names of the paper's metric.
        shots: examples in the prompt.
        values: percent, of each of `SIZES`.
        source: table or figure.
        note: how the settings still differ, or ""; the paper does not state everything.
        prompt_cut: how prompts are shortened; None: not at all.
    """

    tasks: tuple[str, ...]
    metrics: tuple[str, ...]
    shots: int
    values: tuple[float, float, float, float]
    source: str
    note: str = ""
    prompt_cut: PromptCut | None = None


@dataclass(frozen=True)
class PaperLaw:
    """One fit of L(c) = (alpha / c)^beta + gamma, of Figure 1."""

    size: str
    alpha: float
    beta: float
    gamma: float


_PASS = ("pass@1", "pass_at_1")
_MATCH = ("exact_match", "em")
_ACCURACY = ("acc", "accuracy")
_NORMALIZED = ("acc_norm",)
_LENIENT = "flexible-extract"
"""Filter of lm-evaluation-harness that takes any number of a reply as its answer."""
_NORMALIZATION = "the paper does not state how choices are normalized"
_ROUGE = ("rouge_geo_of_means", "rouge_geo_per_reply")
_ROUGE_NOTE = "the paper does not state which of the two geometric means it prints"
_CUT = PromptCut(side="left", tokens=16384)
"""Prompts of the long tasks (section 3.1 of the paper)."""
_PROMPT = "prompts of 16,384 tokens, cut at their start"

_SHORT = (
    PaperScore(("humaneval", "humaneval_sandboxed"), _PASS, 0, (18.3, 19.5, 22.6, 32.9), "Table 15"),
    PaperScore(("mbpp", "mbpp_sandboxed"), _PASS, 3, (23.0, 31.8, 37.2, 46.8), "Table 15"),
    PaperScore(("gsm8k", "gsm8k_cot"), _MATCH, 8, (16.8, 34.6, 47.4, 65.4), "Table 15"),
    PaperScore(
        ("minerva_math", "hendrycks_math"), _MATCH, 4, (4.22, 8.38, 10.6, 17.2), "Table 15"
    ),
    PaperScore(("nq_open",), _MATCH, 5, (27.5, 32.5, 35.0, 39.8), "Table 15"),
    PaperScore(("mmlu",), _ACCURACY, 5, (47.8, 60.1, 65.0, 71.7), "Table 1"),
    PaperScore(("mmlu_humanities",), _ACCURACY, 5, (54.8, 69.0, 73.5, 80.1), "Table 14"),
    PaperScore(("mmlu_stem",), _ACCURACY, 5, (35.7, 44.4, 49.9, 55.5), "Table 14"),
    PaperScore(("mmlu_social_sciences",), _ACCURACY, 5, (58.4, 71.3, 78.4, 84.4), "Table 14"),
    PaperScore(("mmlu_other",), _ACCURACY, 5, (53.2, 65.8, 69.3, 74.9), "Table 14"),
    PaperScore(
        ("piqa",), _NORMALIZED, 0, (78.9, 81.6, 82.6, 83.3), "Table 16", _NORMALIZATION
    ),
    PaperScore(("social_iqa", "siqa"), _ACCURACY, 0, (48.7, 50.7, 51.7, 52.8), "Table 16"),
    PaperScore(
        ("hellaswag",), _NORMALIZED, 0, (77.8, 81.2, 83.8, 85.7), "Table 16", _NORMALIZATION
    ),
    PaperScore(("winogrande",), _ACCURACY, 0, (70.4, 74.1, 77.5, 79.6), "Table 16"),
    PaperScore(
        ("arc_easy",), _NORMALIZED, 0, (76.2, 77.7, 79.7, 80.3), "Table 16", _NORMALIZATION
    ),
    PaperScore(
        ("arc_challenge",), _NORMALIZED, 0, (52.0, 51.4, 54.8, 58.4), "Table 16", _NORMALIZATION
    ),
    PaperScore(
        ("openbookqa",), _NORMALIZED, 0, (59.0, 55.6, 60.2, 59.6), "Table 16", _NORMALIZATION
    ),
    PaperScore(
        ("commonsense_qa", "csqa"), _ACCURACY, 7, (61.0, 70.4, 77.0, 81.9), "Table 16"
    ),
)  # fmt: skip
_LONG = (
    PaperScore(
        ("paper_narrative_qa",), ("f1",), 0, (21.9, 25.6, 29.4, 30.9), "Table 3", _PROMPT, _CUT
    ),
    PaperScore(("paper_qasper",), ("f1",), 2, (27.8, 31.2, 33.7, 35.7), "Table 3", _PROMPT, _CUT),
    PaperScore(("paper_quality",), _MATCH, 2, (43.2, 57.6, 65.7, 79.7), "Table 3", _PROMPT, _CUT),
    PaperScore(("paper_qmsum",), _ROUGE, 1, (14.9, 15.7, 15.9, 16.5), "Table 3", _ROUGE_NOTE, _CUT),
)
LAWS = (
    PaperLaw("7B", 25.4, 0.45, 1.56),
    PaperLaw("13B", 19.5, 0.48, 1.45),
    PaperLaw("34B", 17.7, 0.50, 1.41),
    PaperLaw("70B", 17.9, 0.51, 1.35),
)

FIRST_SENTENCE: dict[int, float] = {
    256: 96.7,
    1024: 95.7,
    2048: 97.0,
    4096: 96.9,
    8192: 97.2,
    16384: 92.0,
}
"""ROUGE-L of first-sentence retrieval by the 7B model with adjusted base frequency, by length in tokens.

Read from the curve of Figure 5b, to about 0.3; the paper prints neither prompt nor documents.
"""
FIRST_SENTENCE_TASK, FIRST_SENTENCE_SCORING = "first_sentence", "rouge_l"


def paper_score(result: SuiteResult, template: Template) -> PaperScore | None:
    """Scores of the paper in the setting of a suite's result; None if it has none.

    The paper's models complete texts, and answer all questions.
    """
    metric, _, filter = result.metric.partition(",")
    if filter == _LENIENT or template != "none" or result.limit is not None:
        return None
    settings = (result.shots, result.prompt_cut)
    for score in (*_SHORT, *_LONG):
        is_same = result.task in score.tasks and metric in score.metrics
        if is_same and settings == (score.shots, score.prompt_cut):
            return score
    return None


def first_sentence_scores(
    task: TaskResult, template: Template, lengths: Sequence[int]
) -> dict[int, float]:
    """The paper's percent of first-sentence retrieval at some lengths; empty for other tasks and templates."""
    if (
        template != "none"
        or task.task != FIRST_SENTENCE_TASK
        or task.scoring != FIRST_SENTENCE_SCORING
    ):
        return {}
    return {length: FIRST_SENTENCE[length] for length in lengths if length in FIRST_SENTENCE}
