"""Schema of a recipe as pydantic models.

A recipe states what is wanted; every value that is left out is derived later by
:mod:`longspan.recipe.derive`, which also says why. Validation here is pure: it reads no file and
starts nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence, Sized
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from longspan.config.common import Data, Storage
from longspan.config.file_kinds import PRETRAINING, DescribedFile, Kind
from longspan.config.section import Section
from longspan.corpus.filters import conditions
from longspan.extensions.points import CORPUS_FORMATS, POSITION_ENCODINGS
from longspan.recipe.extensions import CallbackChoice, Extension, TrackerChoice, require_distinct
from longspan.recipe.rope_bases import base_ignored
from longspan.recipe.training import Optimizer, Training, Workers
from longspan.recipe.update_size import update_tokens

FormatName = Annotated[str, AfterValidator(CORPUS_FORMATS.require_name)]
"""Format of a corpus."""

SMALLEST_WEIGHT = 1e-4


def is_empty(value: Sized) -> bool:
    """Whether a value can be left out of a dump: hashes of recipes without the key stay what they were."""
    return not value


TEXTS = ("text", "text_blocks")


class Repository(Section):
    """What makes files one document: the fields of rows that name them, or the folders of objects."""

    name: str | None = Field(None, min_length=1)
    """Rows (Parquet, JSONL) are files: the field that holds a file's repository. Unset: rows are no files."""
    path: str | None = Field(None, min_length=1)
    """The field that holds a file's path in its repository. Unset: rows are no files."""
    depth: int | None = Field(None, ge=1)
    """Objects are files: the first so many folders below the fixed part of the path are a repository. Unset:
    objects are no files."""
    header: str = "{path}\n"
    """Stands before each file; {path} is its path in the repository. May be empty."""

    @model_validator(mode="after")
    def _rows_or_folders(self) -> Repository:
        rows = self.name is not None and self.path is not None
        if (self.name is None) != (self.path is None) or rows == (self.depth is not None):
            raise ValueError(
                "give either name and path, the fields of rows that are files, or depth, "
                "the number of folders that name a repository"
            )
        return self


class Corpus(Section):
    """One source of documents and its share of the tokens."""

    name: str
    """Name of the source in messages, metrics and `shards/`: lower-case letters, digits, - and _."""
    path: str | list[str]
    """Object, folder, prefix or glob (``*``, ``?``, ``**``), relative to storage.root unless absolute or s3://."""
    weight: float = Field(gt=0, le=1)
    """Share of the training tokens, rounded to ten-thousandths; only recipes of jobs/sft.py may leave it out."""
    base_weight: float | None = Field(None, ge=0, le=1)
    """Share in the mix that the base model was pretrained on, for mixture.arm. Unset: not in that mix."""
    format: FormatName = "auto"
    """`auto`: by the object's name; else `parquet`, `jsonl`, `text` or `text_blocks` (each block between blank lines of
    a text is a document), `chat` (each row is a conversation: messages, ShareGPT or Alpaca), or a format of yours
    (docs/extend.md): `module:Class`, or the name of an installed one."""
    format_options: dict[str, Any] = Field(default_factory=dict, exclude_if=is_empty)
    """Options of a format of yours, as its class defines them."""
    text_field: str = "text"
    """The column or key with a document's text; dots reach into nested objects."""
    ignore_fields: list[str] = Field(default_factory=list)
    """For chat: fields of rows or turns that are left out; any other that is not rendered is bad input."""
    heldout_fraction: float | None = Field(None, ge=0, lt=1)
    """Share of its documents that never enter training, 0 for none. Unset: heldout.fraction."""
    min_tokens: int = Field(0, ge=0)
    """Documents shorter than this are left out (and counted)."""
    max_tokens: int | None = Field(None, ge=1)
    """Documents longer than this are left out (and counted). Unset: no limit."""
    where: dict[str, Any] = Field(default_factory=dict)
    """Rows to take, by their other fields: a value, a list of values, or min, max (inclusive) and not."""
    repository: Repository | None = None
    """For code: all files of a repository are one document."""
    prompt_loss: float = Field(0.0, ge=0, le=1)
    """For chat: weight in the loss of each token that is of no answer; those of answers have weight 1."""
    pack: bool = True
    """Off: each document has a row of its own, padded at its end."""

    @field_validator("where")
    @classmethod
    def _conditions_can_be_met(cls, where: dict[str, Any]) -> dict[str, Any]:
        conditions(where)
        return where

    @model_validator(mode="after")
    def _format_has_what_is_asked_for(self) -> Corpus:
        repository = self.repository
        if self.prompt_loss and self.format != "chat":
            raise ValueError(
                f"prompt_loss: {self.prompt_loss:g} would be ignored: all tokens of a text count; "
                "it is for format: chat"
            )
        if self.ignore_fields and self.format != "chat":
            raise ValueError(
                f"ignore_fields: {self.ignore_fields[0]!r} would be ignored: of a text's row only its text "
                "is used; it is for format: chat"
            )
        if self.text_field != "text" and self.format in (*TEXTS, "chat"):
            raise ValueError(
                f"text_field: {self.text_field!r} would be ignored with format {self.format}: it is a field of rows; "
                "set format: auto, or leave it out"
            )
        if self.format_options and self.format in CORPUS_FORMATS.builtin:
            raise ValueError(
                f"format_options: {sorted(self.format_options)[0]!r} would be ignored: format {self.format} has no "
                "options; leave it out"
            )
        if repository and self.format == "chat":
            raise ValueError("repository: it is for code, and format is chat")
        if self.where and (self.format in TEXTS or (repository and repository.depth)):
            raise ValueError(
                f"where: {sorted(self.where)[0]!r} is a field of rows, and texts have none"
            )
        if repository and repository.name and self.format in TEXTS:
            raise ValueError("repository: name and path are fields of rows, and texts have none")
        if repository and repository.depth and self.format not in ("auto", "text"):
            raise ValueError(
                f"repository: depth is for text files, each an object; format is {self.format}"
            )
        return self

    @model_validator(mode="after")
    def _some_length_is_left(self) -> Corpus:
        if self.max_tokens is not None and self.max_tokens < self.min_tokens:
            raise ValueError(
                f"max_tokens {self.max_tokens:,} is below min_tokens {self.min_tokens:,}; "
                "no document would be left"
            )
        return self

    @field_validator("name")
    @classmethod
    def _name_is_a_folder_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
            raise ValueError(
                f"{name!r}: use lower-case letters, digits, - and _ (it names a folder)"
            )
        return name

    @field_validator("path")
    @classmethod
    def _path_leads_somewhere(cls, path: str | list[str]) -> str | list[str]:
        paths = [path] if isinstance(path, str) else path
        if not paths or not all(each.strip() for each in paths):
            raise ValueError(f"must be one path or more, none of them empty, but is {path!r}")
        return path

    @field_validator("weight")
    @classmethod
    def _weight_survives_rounding(cls, weight: float) -> float:
        if weight < SMALLEST_WEIGHT:
            raise ValueError(
                f"{weight:g} is too small: weights are rounded to ten-thousandths; "
                f"the smallest is {SMALLEST_WEIGHT:.4f}"
            )
        return weight


class Positions(Section):
    """How positions are encoded in the extended model (paper, section 4.1)."""

    encoding: Annotated[str, AfterValidator(POSITION_ENCODINGS.require_name)] = "abf"
    """`abf` raises RoPE's base frequency, `pi` interpolates positions, `yarn` scales by frequency, `none` keeps
    the model's own; `xpos_abf` can be planned only. Or an encoding of yours (docs/extend.md): `module:Class`, or the
    name of an installed one."""
    base: float | None = Field(None, gt=1)
    """RoPE base for abf and yarn. Unset: a published value for target_context, or between two of them; never below
    the model's own."""

    @field_validator("base")
    @classmethod
    def _encoding_has_a_base(cls, base: float | None, info: ValidationInfo) -> float | None:
        encoding = info.data.get("encoding")
        if base is not None and encoding in ("none", "pi"):
            raise ValueError(base_ignored(encoding, base).removeprefix("positions.base: "))
        return base


class EvaluationFiles(Section):
    """An evaluation set that no document to train on may contain."""

    path: str | list[str]
    """As of a corpus."""
    text_fields: list[str] = Field(["text"], min_length=1)
    """Each is looked for on its own: a question also where its answer is not."""
    format: FormatName = "auto"
    """Format of the objects, as of a corpus; not `chat`."""

    @field_validator("format")
    @classmethod
    def _is_of_texts(cls, format: str) -> str:
        if format == "chat":
            raise ValueError(
                "chat has conversations, and documents are compared with texts; give another format"
            )
        return format


class Decontaminate(Section):
    """Training documents that contain evaluation documents are left out, and reported."""

    against: dict[str, EvaluationFiles] = Field(min_length=1)
    """Evaluation sets, by a name of your choice."""
    ngram: int = Field(13, ge=1, le=1000)
    """Tokens of a gram."""
    share: float = Field(0.5, gt=0, le=1)
    """Share of an evaluation document's grams, from which on a training document contains it."""


class Mixture(Section):
    """Which mix of the corpora to train on: the arms of the paper's ablation (section 4.2)."""

    arm: Literal["own", "base", "long_removed", "long_upsampled"] = "own"
    """own: the weights as given. The others take the base weights: as they are, without long
    documents, or with long documents sampled more often."""
    threshold: int | None = Field(None, ge=1)
    """Documents of more tokens than this are long. Unset: the base model's own window."""
    share: float | None = Field(None, gt=0, lt=1)
    """Share of the tokens in long documents, for long_upsampled. Unset: that of the own mix."""

    @model_validator(mode="after")
    def _share_is_used(self) -> Mixture:
        if self.share is not None and self.arm != "long_upsampled":
            raise ValueError(
                f"share {self.share:g} would be ignored by arm {self.arm}; "
                "choose long_upsampled, or leave it out"
            )
        return self


class LengthStage(Section):
    """Rows of one length until a fraction of the run's tokens."""

    length: int = Field(gt=1)
    """Tokens of a row."""
    until: float = Field(1.0, gt=0, le=1)
    """Fraction of the run's tokens at which the stage ends; rises from stage to stage, the last is 1."""


class Packing(Section):
    """How documents become rows."""

    method: Literal["concatenate", "best_fit"] = "concatenate"
    """One stream cut into rows, or whole documents placed where they fit best (arXiv 2404.10830)."""
    document_mask: bool = True
    """Keep documents of one row apart (positions restart); off lets attention cross documents."""


class HeldOut(Section):
    """Documents that never enter training, and how often the loss on them is measured."""

    fraction: float = Field(0.01, ge=0, lt=0.5)
    """Share of each source's documents, chosen by a hash of their text; 0 holds none out."""
    every: int | None = Field(None, ge=1)
    """Updates between measurements; there is always one at the start and one at the end. Unset: a fifth of the
    run, at most 500."""
    rows_per_source: int = Field(8, ge=1)
    """Rows of each source that the held-out loss is measured on, at most."""
    original_model: bool = True
    """Also measure the model as it came, before its positions were changed."""


class Architecture(Section):
    """The base model's shape, for plans where its config.json can't be reached; checked against it where it can."""

    parameters: PositiveInt
    """Number of parameters."""
    layers: PositiveInt
    """Number of layers."""
    hidden: PositiveInt
    """Size of the hidden states."""
    heads: PositiveInt
    """Number of attention heads."""
    kv_heads: PositiveInt
    """Number of key-value heads."""
    head_dim: PositiveInt
    """Size of a head."""
    intermediate: PositiveInt
    """Size of the MLP's hidden layer."""
    vocab: PositiveInt
    """Number of token ids."""
    window: PositiveInt
    """Context window before it is extended, in tokens."""
    rope_base: float = Field(gt=1)
    """RoPE base before it is changed."""


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"{name!r}: use letters, digits, '.', '-' and '_' (it names a folder)")
    return name


FolderName = Annotated[str, AfterValidator(_folder_name)]
"""What a run, a set or a pipeline is called, and its folder with it."""


def require_own_names(corpora: Sequence[Corpus]) -> None:
    """No two sources have the same name.

    Raises:
        ValueError: two do.
    """
    names = [corpus.name for corpus in corpora]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two sources are called {twice[0]!r}; give each its own name")


def _one_stage(value: object) -> object:
    return [{"length": value}] if isinstance(value, int) else value


class Recipe(DescribedFile):
    """One run of continual pretraining."""

    kind: ClassVar[Kind] = PRETRAINING

    name: FolderName
    """The run's name; submitting it again continues the run."""
    base_model: str
    """Hugging Face folder (local, relative to storage.root, s3://) or hub name."""
    tokenizer: str | None = None
    """Folder or hub name of the tokenizer. Unset: the base model's own."""
    document_separator: str | None = None
    """Token that ends every document. Unset: the tokenizer's eos token."""
    end_of_turn: str | None = Field(None, min_length=1)
    """For format chat: token or text that ends an answer. Unset: the control token behind it."""
    architecture: Architecture | None = None
    target_context: int = Field(gt=1)
    """The window to extend to, in tokens."""
    positions: Positions = Positions()
    lengths: Annotated[list[LengthStage], BeforeValidator(_one_stage)] | None = None
    """Length schedule: tokens of a row, or a list of stages. Unset: rows of target_context all along."""
    corpora: list[Corpus] = Field(min_length=1)
    """Sources of documents; their weights add up to 1."""
    bad_input: Literal["stop", "skip"] = "stop"
    """What an unreadable object or row leads to: the end of the job, or a counted, reported skip."""
    deduplicate: Literal["none", "within", "across"] = "none"
    """Leave out exact copies: of documents of the same source, or of any (the first listed keeps its own)."""
    decontaminate: Decontaminate | None = None
    mixture: Mixture = Mixture()
    start_on: Literal["everything", "ready"] = "everything"
    """What a new run trains on: all objects, which it ingests first, or those that are ingested by now."""
    heldout: HeldOut = HeldOut()
    packing: Packing = Packing()
    training: Training = Training()
    optimizer: Optimizer = Optimizer()
    workers: Workers = Workers()
    data: Data = Data()
    storage: Storage = Storage()
    trackers: list[TrackerChoice] = Field(
        default_factory=lambda: [TrackerChoice(name="tensorboard")]
    )
    """Where the run's metrics go besides `runs/<name>/metrics`: names, or sections. May be changed when a run is
    resumed. Unset: `tensorboard`."""
    callbacks: list[CallbackChoice] = Field(default_factory=list, exclude_if=is_empty)
    """Code of yours that every worker calls in the training loop: names, or sections. Unset: none."""

    @field_validator("trackers", "callbacks")
    @classmethod
    def _extensions_differ(cls, chosen: list[Extension]) -> list[Extension]:
        require_distinct(chosen)
        return chosen

    @field_validator("corpora")
    @classmethod
    def _sources_fit_together(cls, corpora: list[Corpus]) -> list[Corpus]:
        require_own_names(corpora)
        total = math.fsum(corpus.weight for corpus in corpora)
        if abs(total - 1) > 1e-4:
            weights = ", ".join(f"{c.name} {c.weight:g}" for c in corpora)
            raise ValueError(f"weights add up to {total:g}, not 1 ({weights})")
        return corpora

    @model_validator(mode="after")
    def _base_mix_is_given(self) -> Recipe:
        base = [corpus.base_weight for corpus in self.corpora if corpus.base_weight is not None]
        total = math.fsum(base)
        if base and abs(total - 1) > 1e-4:
            raise ValueError(f"corpora: base weights add up to {total:g}, not 1")
        if self.mixture.arm != "own" and not base:
            raise ValueError(
                f"mixture.arm: {self.mixture.arm} needs the base model's own mix: give the corpora "
                "of it a base_weight"
            )
        return self

    @model_validator(mode="after")
    def _documents_stay_whole(self) -> Recipe:
        needs = self.needs_document_mask()
        if needs and not (self.packing.method == "best_fit" and self.packing.document_mask):
            raise ValueError(
                f"{needs} needs packing.method best_fit and packing.document_mask on, which keep documents "
                "whole and apart; conversations are neither cut nor read across"
            )
        return self

    def needs_document_mask(self) -> str | None:
        """Return the key and value that need documents whole and apart, or None."""
        chat = [corpus.name for corpus in self.corpora if corpus.format == "chat"]
        unpacked = [corpus.name for corpus in self.corpora if not corpus.pack]
        if chat:
            return f"corpora.{chat[0]}.format: chat"
        if unpacked:
            return f"corpora.{unpacked[0]}.pack: off"
        return "training.loss: per_sequence" if self.training.loss == "per_sequence" else None

    @model_validator(mode="after")
    def _stages_rise_to_one(self) -> Recipe:
        stages = self.length_stages
        ends = [stage.until for stage in stages]
        if ends != sorted(set(ends)) or ends[-1] != 1.0:
            raise ValueError(f"lengths: 'until' must rise and end at 1.0, but is {ends}")
        return self

    @model_validator(mode="after")
    def _lengths_divide(self) -> Recipe:
        sp = self.workers.sequence_parallel
        for stage in self.length_stages:
            if stage.length > self.target_context:
                raise ValueError(
                    f"lengths: rows of {stage.length:,} tokens do not fit target_context {self.target_context:,}"
                )
            if self.tokens_per_update % stage.length:
                near = max(1, round(self.tokens_per_update / stage.length)) * stage.length
                raise ValueError(
                    f"training.tokens_per_update: {self.tokens_per_update:,} is not a whole number of rows "
                    f"of {stage.length:,} tokens; the nearest that is: {near:,}"
                )
            if stage.length % sp:
                raise ValueError(
                    f"workers.sequence_parallel: rows of {stage.length:,} tokens cannot be divided among {sp} workers; "
                    f"the nearest degree that divides them: {_nearest_divisor(stage.length, sp)}"
                )
        return self

    @model_validator(mode="after")
    def _workers_fit(self) -> Recipe:
        workers = self.workers
        if workers.min > workers.max:
            raise ValueError(f"workers: min {workers.min} is more than max {workers.max}")
        for count in (workers.min, workers.max):
            if count % workers.sequence_parallel:
                raise ValueError(
                    f"workers: {count} workers cannot form groups of sequence_parallel {workers.sequence_parallel}; "
                    f"the nearest degree that divides {count}: {_nearest_divisor(count, workers.sequence_parallel)}"
                )
        return self

    @property
    def weights(self) -> tuple[float, ...]:
        """Every corpus's weight in the mixture's arm, before anything is done about long documents."""
        if self.mixture.arm == "own":
            return tuple(corpus.weight for corpus in self.corpora)
        return tuple(corpus.base_weight or 0.0 for corpus in self.corpora)

    @property
    def has_known_tokens(self) -> bool:
        """Whether the run's length in tokens follows from the recipe alone."""
        return True

    @property
    def known_weights(self) -> tuple[float | None, ...]:
        """Weights that follow from the recipe alone; None for one that follows from the data."""
        return self.weights

    @property
    def tokens_per_update(self) -> int:
        """Tokens of one optimizer update, as given or derived."""
        training, workers = self.training, self.workers
        if training.tokens_per_update is not None:
            return training.tokens_per_update
        lengths = [stage.length for stage in self.length_stages]
        groups = max(1, workers.min // workers.sequence_parallel)
        return update_tokens(training.tokens, lengths, groups, training.largest_update)

    @property
    def length_stages(self) -> list[LengthStage]:
        """The length schedule, with its default of target_context all along."""
        return self.lengths or [LengthStage(length=self.target_context)]


def _nearest_divisor(number: int, wanted: int) -> int:
    divisors = [d for d in range(1, min(number, 4 * wanted) + 1) if number % d == 0]
    return min(divisors, key=lambda d: (abs(d - wanted), d))
