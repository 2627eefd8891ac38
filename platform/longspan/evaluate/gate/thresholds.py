"""Thresholds of the acceptance gate, as a section of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from longspan.config.section import Section

ItemName = Literal[
    "short_tasks_retained",
    "short_loss_retained",
    "recall",
    "beyond_literal",
    "context_gain",
    "far_context_used",
    "no_drop_to_window",
    "own_documents_used",
    "own_documents_everywhere",
]
"""Conditions of the gate; docs/evaluate.md says what each one means."""

LOSS_ITEMS: frozenset[ItemName] = frozenset(
    ["short_loss_retained", "context_gain", "far_context_used"]
)
"""Items of losses: together they never suffice (paper, figure 9: flat losses beyond the length of retrieval)."""


class Thresholds(Section):
    """Conditions that a model has to meet; each is compared with an interval of 95 %."""

    required: list[ItemName] = Field(
        default_factory=lambda: [
            "short_tasks_retained",
            "short_loss_retained",
            "recall",
            "beyond_literal",
            "context_gain",
            "far_context_used",
            "no_drop_to_window",
        ]
    )
    """Items that must have been measured for a pass. The others count if they were measured."""
    short_tasks: float = Field(0.01, ge=0, lt=1)
    """Loss of short-context score, as a share, that the mean of all suites of the group "short" must stay below, and
    that no single one may certainly exceed. One point: the meaning given here to Llama 3.1's "short-context evaluations
    recovered completely" (arXiv 2407.21783, section 3.4.2)."""
    short_loss: float = Field(0.005, ge=0, lt=1)
    """Relative rise of the loss at contexts up to the base window that the upper end must stay below. Own choice: the
    differences between sound position encodings in the paper's table 5 are of 0.1 to 0.3 % in perplexity."""
    recall: float = Field(0.856, ge=0, le=1)
    """Lower end of the recall score at every length up to the window. RULER's threshold: Llama 2 7B at 4,096 tokens
    (arXiv 2404.06654, section 4). Tasks that are not scored as RULER's, and pass keys, do not count."""
    recall_rule: Literal["mean", "every_task"] = "mean"
    """`mean`: of the tasks at a length, as RULER's threshold is defined. `every_task`: each one by itself, which is
    stricter."""
    base_share: float = Field(0.85, ge=0, le=1)
    """Share of its own score at the shortest length that a model keeps at every length, in tasks without literal
    overlap and of reasoning. NoLiMa's rule (arXiv 2502.05167, section 4)."""
    base_score: float = Field(0.5, ge=0, le=1)
    """Score at the shortest length, below which a share of it says nothing: the item is inconclusive. Own choice."""
    drop_margin: float = Field(0.05, ge=0, lt=1)
    """Fall of the score from half the window to the window that the interval of the change must exclude (a test of
    non-inferiority); a fall that is certainly larger fails. Own choice."""
    closed_book_margin: float = Field(0.05, ge=0, lt=1)
    """Difference to the score without the document that the lower end must exceed. Own choice."""
    collapse_share: float = Field(0.5, ge=0, lt=1)
    """Share of the score at the shortest length, below which a length or a depth has collapsed. Own choice."""
    reach: float = Field(0.75, gt=0.5, le=1)
    """Share of the window that the longest length, or context, must have for the window to count as measured."""
