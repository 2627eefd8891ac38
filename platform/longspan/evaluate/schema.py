"""Recipe of an evaluation, as pydantic models; validation reads no file and starts nothing."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from longspan.config.common import Data, Storage
from longspan.config.engine_options import checked_options
from longspan.config.file_kinds import EVALUATION, DescribedFile, Kind
from longspan.config.section import Section
from longspan.evaluate.gate.thresholds import Thresholds
from longspan.evaluate.suites.schema import Suite
from longspan.generate.schema import Endpoint, EnginePool
from longspan.recipe.schema import Corpus, FolderName, require_own_names

RESERVED = {"model": "model", "max_model_len": "window"}
"""Engine arguments that follow from another key, and that key."""

_UNUSED = {
    "weight": "sources are not mixed",
    "base_weight": "sources are not mixed",
    "prompt_loss": "it is a weight of training",
    "pack": "documents are not packed",
    "ignore_fields": "conversations are not read",
}


class EvaluationCorpus(Corpus):
    """One source of held-out documents; keys as in pretraining."""

    weight: float = Field(1.0, gt=0, le=1)
    """Refused here; a key of training."""
    heldout_fraction: float | None = Field(None, gt=0, le=1)
    """Share of its documents that training held out: `heldout.fraction` of the training recipe; 1 for a source that
    no training has read. Required."""
    max_documents: int = Field(256, ge=1)
    """Held-out documents to take, at most, chosen by a hash of their text."""
    min_characters: int = Field(0, ge=0)
    """Shorter documents are left out. In characters, so that the documents do not depend on a tokenizer."""

    @model_validator(mode="after")
    def _every_key_is_used(self) -> EvaluationCorpus:
        for key, reason in _UNUSED.items():
            if key in self.model_fields_set:
                raise ValueError(f"{key}: would be ignored here: {reason}; leave it out")
        if self.min_tokens or self.max_tokens is not None:
            raise ValueError(
                "min_tokens, max_tokens: would make the documents depend on one model's tokenizer; use min_characters"
            )
        if self.format == "chat":
            raise ValueError("format: chat has conversations, and probes need documents of text")
        if self.heldout_fraction is None:
            raise ValueError(
                "heldout_fraction: required: the share of this source's documents that training held out "
                "(heldout.fraction of its recipe), or 1 if no training has read the source"
            )
        return self


class Engine(EnginePool):
    """vLLM engines that answer the prompts."""

    pool: str | None = Field(None, min_length=1)
    """Engines, and the actors that compute losses, only on nodes whose label `longspan.io/pool` has this value.
    Unset: any node."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """More arguments of the vLLM engine (tensor_parallel_size, dtype, gpu_memory_utilization, ...); docs/serving.md
    lists them."""

    @field_validator("arguments")
    @classmethod
    def _arguments_can_be_set(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        return checked_options(arguments, RESERVED)


class Probes(Section):
    """Prompts that are generated from held-out documents and the seed."""

    tasks: list[str] = Field(
        default_factory=lambda: ["ruler", "helmet_recall", "association", "stories", "many_shot"]
    )
    """Tasks or groups of tasks; docs/evaluate.md lists them. Empty: none."""
    files: dict[str, str] = Field(default_factory=dict)
    """Files of questions over paragraphs (SQuAD 2.0 or HotpotQA), by a name of your choice: paths in the store. Each
    adds the tasks `qa_<name>` and `qa_<name>_closed_book`."""
    lengths: list[int] | None = None
    """Tokens of prompt and answer. Unset: doubling from 1,024 (or less, for a short window) to the window."""
    beyond_window: bool = False
    """Also ask at twice the model's own window, where a model is expected to fail; reported, never judged."""
    samples: int = Field(50, ge=1)
    """Samples of each task at each length; the first ones stay the same when there are more."""
    depths: int = Field(10, ge=1)
    """Places at which the evidence is put, evenly from the start of the context to its end."""
    answer_prefix: bool = False
    """With the chat template: begin the reply with the task's answer prefix, as RULER does for all models. Without
    the template a prompt always ends with it."""

    @field_validator("lengths")
    @classmethod
    def _lengths_rise(cls, lengths: list[int] | None) -> list[int] | None:
        if lengths is not None and (
            not lengths or lengths != sorted(set(lengths)) or lengths[0] < 128
        ):
            raise ValueError(f"must be rising numbers of tokens, none below 128, but is {lengths}")
        return lengths


class Losses(Section):
    """Losses on held-out documents."""

    documents: int = Field(32, ge=0)
    """Documents of each source, at most, that losses are measured on; 0: none."""
    targets: int = Field(32, ge=1)
    """Target tokens in a row, whose loss is compared between contexts of different length."""
    places: int = Field(4, ge=1)
    """Places of such targets in each document, at most."""
    shortest_context: int = Field(16, ge=16)
    """Tokens of the shortest context, at least. Rows, targets included, are of the window, half of it, a quarter, and
    so on; a power law needs eight of them."""
    key_tokens: str | None = None
    """Model that chooses the key tokens of LongPPL, once for a corpus: as `model`. Unset: no key-token perplexity."""


class OwnDocuments(Section):
    """Questions about held-out documents, which self-instruct has generated."""

    set: FolderName
    """Name of the self-instruct set, whose corpora have `split: heldout`."""
    questions: int = Field(200, ge=1)
    """Questions, at most, at each length."""


class EvaluateRecipe(DescribedFile):
    """One evaluation."""

    kind: ClassVar[Kind] = EVALUATION

    name: FolderName
    """Name of the evaluation; running it again asks only for what is missing."""
    model: str
    """Hugging Face folder (local, relative to storage.root, s3://) or hub name; with `endpoint`: of its tokenizer."""
    reference: str | None = None
    """Model to compare with on the same samples, usually the base model: as `model`. Unset: no comparison, and the
    items of the gate that need one are not measured."""
    base_window: int | None = Field(None, ge=16)
    """Window before it was extended, in tokens. Unset: the shorter window of model and reference."""
    window: int | None = Field(None, ge=128)
    """Tokens of prompt and answer together. Unset: the model's own window."""
    template: Literal["auto", "none", "chat"] = "auto"
    """`chat`: prompts are a user's turn in the model's chat template; `none`: a text to complete. `auto`: chat if the
    tokenizers of model and reference both have a template."""
    endpoint: Endpoint | None = None
    """Server that answers instead of an engine of this job; losses and multiple choice can't be measured then."""
    engine: Engine = Engine()
    corpora: list[EvaluationCorpus] = Field(min_length=1)
    """Sources of held-out documents."""
    bad_input: Literal["stop", "skip"] = "skip"
    """What an unreadable object or row leads to: the end of the job, or a counted, reported skip."""
    probes: Probes = Probes()
    losses: Losses = Losses()
    own_documents: OwnDocuments | None = None
    """Questions about the user's own documents. Unset: none."""
    suites: list[Suite] = Field(default_factory=list)
    """Standard suites, by lm-evaluation-harness."""
    gate: Thresholds = Thresholds()
    """Conditions of the verdict."""
    seed: int = Field(0, ge=0)
    """Seed of all choices."""
    data: Data = Data()
    storage: Storage = Storage()

    @field_validator("corpora")
    @classmethod
    def _sources_are_told_apart(cls, corpora: list[EvaluationCorpus]) -> list[EvaluationCorpus]:
        require_own_names(corpora)
        return corpora

    @model_validator(mode="after")
    def _endpoint_can_do_it(self) -> EvaluateRecipe:
        if self.endpoint and self.losses.documents:
            raise ValueError(
                "losses.documents: an endpoint gives no losses; set losses.documents: 0, or leave endpoint out"
            )
        if self.endpoint and self.reference:
            raise ValueError(
                "reference: both models would be asked at the same endpoint; evaluate each one, and compare "
                "their results: longspan evaluate compare A B"
            )
        return self
