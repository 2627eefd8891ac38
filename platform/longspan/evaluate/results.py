"""`results.json`: what an evaluation measured, as typed values with a schema version.

Scores are shares in [0, 1], losses are nats per token, intervals are of 95 %. Nothing in it depends on when or
how fast it was measured, but for `provenance`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from longspan.config.section import Section
from longspan.evaluate.samples import Family, Scoring
from longspan.evaluate.suites.schema import PromptCut

SCHEMA_VERSION: Literal[1] = 1

IntervalMethod = Literal["wilson", "cluster_bootstrap", "bootstrap", "normal", "none"]
Template = Literal["none", "chat"]
Status = Literal["pass", "fail", "inconclusive", "not_measured"]


class Estimate(Section):
    """A mean with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    """Samples."""
    clusters: int
    """Independent clusters of samples (documents)."""
    method: IntervalMethod


class Cell(Section):
    """Scores of one task at one length: at one depth, or at all of them together (`depth` null)."""

    length: int
    depth: float | None
    score: Estimate | None
    """None: no sample was answered."""
    truncated: int = 0
    """Replies that ended at `max_tokens`."""
    refused: int = 0
    """Prompts that the engine refused, for any other reason than their length: never scored."""
    over_length: int = 0
    """Prompts longer than the engine's window: never shortened, never scored."""
    unanswered: int = 0
    """Prompts without a reply for another reason: never scored."""
    unmeasurable: int = 0
    """Samples whose prompt can't be made, such as for lack of text: never asked, never scored."""
    prompt_tokens: tuple[int, int, int]
    """Fewest, median, and most tokens of the prompts."""


class TaskResult(Section):
    """Scores of one task."""

    task: str
    version: int
    family: Family
    scoring: Scoring
    cells: list[Cell]
    """Of all depths together first, then of each depth; by length."""
    effective_length: int | None
    """Longest length up to which the score is at least the threshold; None: below it at the shortest."""
    effective_length_conservative: int | None
    """The same for the lower ends of the intervals."""
    threshold: float


class LeftOut(Section):
    """A task that has no samples at one of the lengths."""

    task: str
    length: int
    reason: str
    """Why there can be none."""


class LossPoint(Section):
    """Mean loss of some tokens."""

    first: int
    """By position: first position of the band. By context: tokens of context."""
    last: int
    """By position: the position after the band. By context: the same as `first`."""
    loss: Estimate
    """`n` are tokens, `clusters` documents."""


class PowerLaw(Section):
    """Fit of L(c) = (alpha / c)^beta + gamma (paper, section 4.3; c in tokens, L in nats)."""

    alpha: Estimate | None
    beta: Estimate | None
    gamma: Estimate | None
    problem: str | None
    """Why the parameters are not identifiable; None if they are."""


class LossResult(Section):
    """Losses of one corpus, or of all together (`corpus` null)."""

    corpus: str | None
    by_position: list[LossPoint]
    """Mean loss by position in the document; confounds context with place."""
    by_context: list[LossPoint]
    """Mean loss of the same target tokens, by tokens of context."""
    too_short: int = 0
    """Documents without losses by context, as they are shorter than the longest context."""
    last_doubling_gain: Estimate | None
    """L(c/2) - L(c) at the longest context, paired by document."""
    far_swap: Estimate | None
    """Rise of the loss when the far half of the context is from another document, paired."""
    key_token_perplexity: Estimate | None
    """LongPPL (arXiv 2410.23771)."""
    key_tokens: int
    power_law: PowerLaw | None


class SuiteResult(Section):
    """One metric of one task of lm-evaluation-harness, or of another standard suite."""

    task: str
    metric: str
    value: float | None
    """None: invalid, because some questions have no reply (see the counts)."""
    stderr: float | None
    """Robust to dependence between questions on one document; None if the metric is no mean of single scores."""
    n: int
    shots: int | None
    version: str
    higher_is_better: bool = True
    group: str | None = None
    """Suite that it is part of, such as "short"."""
    limit: int | None = None
    """First questions of each task that were asked; None: all."""
    prompt_cut: PromptCut | None = None
    """How prompts are shortened; None: never, or not all tasks of a group in the same way."""
    truncated: int = 0
    """Questions whose prompt was shortened, as the task's settings ask for."""
    over_length: int = 0
    """Questions whose prompt is longer than the window: never shortened, never scored."""
    refused: int = 0
    """Questions that the engine refused for any other reason than their length: never scored."""
    unanswered: int = 0
    """Questions without a reply for another reason: never scored."""


class PairedDifference(Section):
    """One model minus another on the same samples."""

    task: str
    length: int | None
    difference: Estimate
    wins: int
    ties: int
    losses: int
    minimum_detectable: float
    """Smallest difference that would be found with a power of 80 % at this number of samples."""
    left_out: int = 0
    """Samples that were not compared, as one of the two models gave no reply, or was not asked."""


class LossChange(Section):
    """Change of the loss on the same tokens against another model, relative to that model's loss."""

    corpus: str | None
    """None: all together."""
    context: int
    """Tokens of context."""
    change: Estimate
    """0.01: the loss is 1 % higher. `n` are tokens, `clusters` documents."""


class Comparison(Section):
    """Paired differences to another model."""

    model: str
    reference: str
    differences: list[PairedDifference]
    loss_changes: list[LossChange] = Field(default_factory=list)
    """By corpus and context, at contexts that both models were measured at."""


class VerdictItem(Section):
    """One condition of the acceptance gate."""

    name: str
    status: Status
    value: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    source: str
    """Where the threshold comes from."""
    detail: str
    """What was compared, with the worst case."""


class Verdict(Section):
    """Result of the acceptance gate: pass, fail, or inconclusive."""

    status: Literal["pass", "fail", "inconclusive"]
    items: list[VerdictItem]


class ModelInfo(Section):
    """Identity of an evaluated model."""

    name: str
    """As the recipe states it."""
    identity: str
    """Changes with its weights."""
    window: int
    """Longest length that was judged: tokens of prompt and answer together."""
    model_window: int
    """Its own window, in tokens; at least `window`."""
    rope: dict[str, Any]
    """Its `rope_parameters`; empty for an endpoint."""
    dtype: str
    template: Template
    tokenizer: str
    """Hash."""


class ReportedEngine(Section):
    """Values that an engine, or the endpoint, reports of the model; those that are known agree with its folder."""

    vllm: str | None = None
    """Version of vLLM; None for an endpoint."""
    window: int | None = None
    """Tokens of prompt and answer that it takes (`max_model_len`); None: not stated."""
    rope: dict[str, Any] = Field(default_factory=dict)
    """`rope_parameters` of its model; empty for an endpoint, because no API reports them."""
    dtype: str | None = None
    """Type of the weights; None for an endpoint."""
    tokens: dict[str, str] = Field(default_factory=dict)
    """Hashes of the tokens that it makes of a fixed text, and of a fixed conversation in the chat template."""
    unchecked: list[str] = Field(default_factory=list)
    """Properties that could not be compared, each with the reason."""


class Provenance(Section):
    """Facts that are needed to repeat the evaluation."""

    code: str
    packages: dict[str, str]
    """Versions."""
    seed: int
    samples: int
    """Asked for, for each task and length."""
    lengths: list[int]
    depths: int
    documents: dict[str, int]
    """Held-out documents by corpus."""
    documents_hash: str
    engine: dict[str, Any]
    """Arguments of the engine, or the endpoint's address."""
    reported: dict[str, list[ReportedEngine]] = Field(default_factory=dict)
    """Engines whose replies are in the store, or the endpoint, as they report themselves; by `model` and
    `reference`."""
    base_window: int | None
    """Window of the base model before it was extended."""


class Results(Section):
    """One evaluation."""

    schema_version: Literal[1] = Field(SCHEMA_VERSION)
    name: str
    model: ModelInfo
    reference: ModelInfo | None = None
    """Model that it is compared with: usually the base model."""
    tasks: list[TaskResult] = Field(default_factory=list)
    left_out: list[LeftOut] = Field(default_factory=list)
    """Tasks at lengths at which there can be no samples of them."""
    reference_tasks: list[TaskResult] = Field(default_factory=list)
    losses: list[LossResult] = Field(default_factory=list)
    reference_losses: list[LossResult] = Field(default_factory=list)
    suites: list[SuiteResult] = Field(default_factory=list)
    reference_suites: list[SuiteResult] = Field(default_factory=list)
    comparison: Comparison | None = None
    verdict: Verdict | None = None
    provenance: Provenance


class SampleRecord(Section):
    """One row of `samples/<task>.parquet`: a sample with its reply and score."""

    id: str
    """Identity of the sample."""
    request: str
    """Identity of sample, model and sampling."""
    task: str
    length: int
    index: int
    depth: float | None
    cluster: str
    references: list[str]
    reply: str
    score: float | None
    """In [0, 1]; None if there is no reply."""
    problem: str
    """Why there is no reply: "over_length: ...", "refused: ...", "unanswered: ...", "unmeasurable: ..."; "" if there
    is one."""
    truncated: bool
    """Whether the reply ended at `max_tokens`."""
    prompt_tokens: int
    reply_tokens: int
    prompt_head: str
    """First characters of the prompt."""
    prompt_tail: str
    """Last characters of the prompt."""
    evidence: list[tuple[int, int]]
    """Characters [from, to) of the prompt's text."""
    evidence_text: str
    """First characters of the first evidence."""
