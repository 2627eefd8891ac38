"""What a user writes: the recipe of a self-instruct job as pydantic models.

Validation here is pure, as that of the pretraining recipe: it reads no file and starts nothing.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from longspan.config.common import Data, Storage
from longspan.config.engine_options import checked_options
from longspan.config.file_kinds import SELF_INSTRUCT, DescribedFile, Kind
from longspan.config.section import Section
from longspan.corpus.example_sets import SplitRule
from longspan.generate.schema import Endpoint, EnginePool
from longspan.recipe.schema import Corpus, FolderName, require_own_names

Quality = Literal["answerable", "correct", "supported"]

RESERVED = {"model": "generator.model", "max_model_len": "generator.window"}
"""Engine arguments that the job sets itself, and the key that says it instead."""


class LongCorpus(Corpus):
    """One source of long documents; everything as in pretraining, and ``base_weight`` not used."""

    weight: float = Field(1.0, gt=0, le=1)
    """Share of max_documents, relative to the other sources'."""

    split: Literal["all", "heldout", "training"] = "all"
    """Documents to ask about: all, the held-out ones (for evaluation), or those that training sees. The last two need
    heldout_fraction, as in the recipe of training: there, unset, it is heldout.fraction."""

    @model_validator(mode="after")
    def _split_has_its_fraction(self) -> LongCorpus:
        fraction = self.heldout_fraction
        if self.split == "all" and fraction is not None:
            raise ValueError(
                f"heldout_fraction: {fraction:g} would be ignored with split: all; set split: heldout or split: "
                "training, or leave it out"
            )
        if self.split != "all" and fraction is None:
            raise ValueError(
                f"heldout_fraction: required with split: {self.split}; give that of the recipe of training"
            )
        if self.split == "heldout" and fraction == 0:
            raise ValueError("heldout_fraction: 0 holds no document out; give a larger one")
        return self

    @property
    def split_rule(self) -> SplitRule | None:
        """Rule that chooses documents; None if all may be asked about."""
        if self.split == "all" or self.heldout_fraction is None:
            return None
        return SplitRule(self.split, self.heldout_fraction)


class Generator(EnginePool):
    """The model that asks, answers and judges: a local vLLM engine, or an endpoint."""

    model: str | None = None
    """Hugging Face folder (local, relative to storage.root, s3://) or hub name, of a chat model. Unset: the
    endpoint generates."""
    endpoint: Endpoint | None = None
    """A server instead of an engine of this job."""
    window: int | None = Field(None, ge=128)
    """Tokens of a prompt and its reply. Unset: the model's own, 4,096 for an endpoint."""
    max_tokens: int = Field(256, ge=16)
    """Longest reply: a question and its answer."""
    temperature: float = Field(0.7, ge=0)
    """Sampling temperature of questions and answers."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Nucleus sampling of questions and answers."""
    constrained: bool = False
    """Hold the decoding of questions and answers to JSON: for models that do not keep to a form."""
    engine: dict[str, Any] = Field(default_factory=dict)
    """More arguments of the vLLM engine (tensor_parallel_size, dtype, gpu_memory_utilization, ...); docs/serving.md
    lists them."""

    @model_validator(mode="after")
    def _an_engine_of_a_pool_is_on_one_node(self) -> Generator:
        if self.pool and self.engine.get("distributed_executor_backend") == "ray":
            raise ValueError(
                "engine.distributed_executor_backend: 'ray' makes a placement group that knows no pool; "
                "leave it out (the engine's GPUs are then of one node), or leave pool out"
            )
        return self

    @model_validator(mode="after")
    def _one_generator(self) -> Generator:
        if (self.model is None) == (self.endpoint is None):
            raise ValueError("generator: give either model, for an engine of this job, or endpoint")
        return self

    @field_validator("engine")
    @classmethod
    def _engine_is_ours(cls, engine: dict[str, Any]) -> dict[str, Any]:
        return checked_options(engine, RESERVED)


class Critique(Section):
    """What the generator's own judgement of a question and its answer must say."""

    require: list[Quality] = Field(["answerable", "correct", "supported"])
    """Each of these must be true; the list may be empty."""
    min_score: int = Field(4, ge=1, le=5)
    """Smallest score, of 1 to 5."""
    max_tokens: int = Field(96, ge=32)
    """Room for the verdict."""


class Least(Section):
    """What must be left for the job to count as a success."""

    examples: int = Field(1, ge=1)
    """Fewest examples."""
    share: float = Field(0.01, ge=0, le=1)
    """Fewest examples, as a share of the questions asked for."""


class InstructRecipe(DescribedFile):
    """One set of synthetic examples."""

    kind: ClassVar[Kind] = SELF_INSTRUCT

    name: FolderName
    """The set's name; submitting it again goes on with what is missing."""
    target_context: int = Field(ge=128)
    """The longest example, in tokens, as the chat template renders it."""
    tokenizer: str | None = None
    """Folder or hub name of the tokenizer, with chat template, of the model that will be tuned. Unset: the
    generator's own."""
    generator: Generator
    corpora: list[LongCorpus] = Field(min_length=1)
    """Sources of long documents."""
    bad_input: Literal["stop", "skip"] = "skip"
    """What an unreadable object or row leads to: the end of the job, or a counted, reported skip."""
    max_documents: int = Field(1000, ge=1)
    """Documents to take, at most, chosen by a seeded hash of their text."""
    chunk_tokens: int | None = Field(None, ge=16)
    """Longest chunk, in tokens of the generator. Unset: what its window has room for, up to 2,048."""
    chunks_per_document: int | None = Field(1, ge=1)
    """Chunks to ask about, chosen by a seeded hash; all when null."""
    questions_per_chunk: int = Field(2, ge=1)
    """Questions to ask about each chunk."""
    min_grounding: float = Field(0.5, ge=0, le=1)
    """Smallest share of an answer's words that must occur in the chunk."""
    critique: Critique = Critique()
    near_duplicates: float = Field(0.7, gt=0, le=1)
    """Questions whose word sequences overlap at least so far (Jaccard) count as one."""
    prompts: str | None = None
    """Local folder with prompt files in place of ours; see docs/self_instruct.md. Unset: those that come with the
    package."""
    least: Least = Least()
    seed: int = Field(0, ge=0)
    """Seed of the choice of documents and chunks, and of the sampling."""
    data: Data = Data()
    storage: Storage = Storage()

    @field_validator("corpora")
    @classmethod
    def _sources_are_told_apart(cls, corpora: list[LongCorpus]) -> list[LongCorpus]:
        require_own_names(corpora)
        return corpora

    @model_validator(mode="after")
    def _tokenizer_is_known(self) -> InstructRecipe:
        if self.generator.endpoint and not self.tokenizer:
            raise ValueError(
                "tokenizer: required with generator.endpoint, whose own tokenizer is not at hand; "
                "name that of the model to be tuned"
            )
        return self

    @property
    def splits(self) -> dict[str, SplitRule]:
        """Rules of the sources that only some documents are taken of, by name."""
        rules = {corpus.name: corpus.split_rule for corpus in self.corpora}
        return {name: rule for name, rule in rules.items() if rule is not None}

    @property
    def questions(self) -> int | None:
        """Questions asked for at most; None where all chunks of a document are asked about."""
        if self.chunks_per_document is None:
            return None
        return self.max_documents * self.chunks_per_document * self.questions_per_chunk
