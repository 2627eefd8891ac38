"""A recipe of supervised finetuning: the same keys as continual pretraining, other defaults."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, field_validator, model_validator

from longspan.config.file_kinds import FINETUNING, Kind
from longspan.errors import UserError
from longspan.recipe.schema import (
    SMALLEST_WEIGHT,
    Corpus,
    FormatName,
    LengthStage,
    Packing,
    Positions,
    Recipe,
    Training,
    require_own_names,
)

PACKED_LENGTH = 16_384
"""Tokens of a row of packed short examples (arXiv 2309.16039, section 2.2)."""


class SftCorpus(Corpus):
    """One source of examples; conversations unless another format is given."""

    weight: float | None = Field(None, gt=0, le=1)  # pyrefly: ignore
    """Share of the training tokens. Unset: what the given weights leave, by rows, so that each example is seen
    once an epoch."""
    format: FormatName = "chat"
    """`chat`: each row is a conversation (messages, ShareGPT or Alpaca); or another format, as in pretraining."""

    @field_validator("weight")
    @classmethod
    def _weight_survives_rounding(cls, weight: float | None) -> float | None:  # pyrefly: ignore
        return weight if weight is None else Corpus._weight_survives_rounding(weight)


class SftTraining(Training):
    """The engine's dials; a batch is smaller than in pretraining."""

    largest_update: ClassVar[int] = 2**20
    """Tokens of an update of a long run where `tokens_per_update` is unset."""

    epochs: float | None = Field(None, gt=0)
    """How often each example of the sources without a weight is seen. Unset: 2, or what training.tokens comes to."""
    tokens_per_update: int | None = Field(None, gt=0)
    """Tokens of one optimizer update. Unset: 1,048,576, or a hundredth of a shorter run."""

    @model_validator(mode="after")
    def _one_length_of_the_run(self) -> SftTraining:
        if self.epochs is not None and self.tokens is not None:
            raise ValueError("epochs and tokens both say how long the run is; give one of them")
        return self


class SftRecipe(Recipe):
    """One run of supervised finetuning, from a model whose window has been extended."""

    kind: ClassVar[Kind] = FINETUNING

    corpora: list[SftCorpus] = Field(min_length=1)  # pyrefly: ignore
    """Sources of examples; weights of some may be unset."""
    positions: Positions = Positions(encoding="none")
    """How positions are encoded; the base model's window has been extended before."""
    packing: Packing = Packing(method="best_fit")
    """How examples become rows."""
    training: SftTraining = SftTraining()
    """The engine's dials; a batch is smaller than in pretraining."""

    @field_validator("corpora")
    @classmethod
    def _sources_fit_together(cls, corpora: list[SftCorpus]) -> list[SftCorpus]:  # pyrefly: ignore
        require_own_names(corpora)
        given = [corpus.weight for corpus in corpora if corpus.weight is not None]
        total = math.fsum(given)
        if len(given) == len(corpora):
            wanted, fits = "1", abs(total - 1) <= 1e-4
        else:
            wanted = "less than 1, so that something is left for the others"
            fits = total <= 1 - SMALLEST_WEIGHT
        if not fits:
            raise ValueError(f"weights add up to {total:g}, and must to {wanted}")
        return corpora

    @model_validator(mode="after")
    def _length_is_known(self) -> SftRecipe:
        unset = any(corpus.weight is None for corpus in self.corpora)
        if not unset and self.training.tokens is None:
            raise ValueError(
                "training.tokens: required where all corpora have a weight: there is no epoch then"
            )
        if unset and len(self.length_stages) > 1:
            raise ValueError(
                "lengths: give one row length, or all corpora a weight: an epoch is counted in rows"
            )
        return self

    @property
    def weights(self) -> tuple[float, ...]:
        """Every corpus's weight; before they are settled, what is left in equal parts."""
        return self._weights([1] * len(self.corpora))

    @property
    def length_stages(self) -> list[LengthStage]:
        """Rows of 16,384 tokens where all examples are packed, else of the whole window."""
        packed = all(corpus.pack for corpus in self.corpora)
        length = min(self.target_context, PACKED_LENGTH) if packed else self.target_context
        return self.lengths or [LengthStage(length=length)]

    @property
    def has_known_tokens(self) -> bool:
        """Whether the run's length is given in tokens: of epochs it is known once the examples are packed."""
        return self.training.tokens is not None

    @property
    def known_weights(self) -> tuple[float | None, ...]:
        """Weights that follow from the recipe alone: the given ones, and what these leave to a single other corpus."""
        weights = self.weights
        unset = sum(corpus.weight is None for corpus in self.corpora)
        return tuple(
            weight if corpus.weight is not None or unset == 1 else None
            for corpus, weight in zip(self.corpora, weights, strict=True)
        )

    @property
    def settled(self) -> bool:
        """Whether weights and tokens are all known."""
        known = all(corpus.weight is not None for corpus in self.corpora)
        return known and self.training.tokens is not None

    def settle(self, rows: Sequence[int]) -> SftRecipe:
        """This recipe with every weight and the run's tokens, which follow from the examples.

        Args:
            rows: of an epoch, by corpus.

        Raises:
            UserError: a corpus has too few of them to have a share at all.
        """
        weights = self._weights(rows)
        for corpus, weight in zip(self.corpora, weights, strict=True):
            if weight < SMALLEST_WEIGHT:
                raise UserError(
                    f"corpora.{corpus.name}: its examples are {weight:.1g} of all rows, below the "
                    f"smallest share of {SMALLEST_WEIGHT:.4f}; give it a weight of its own"
                )
        corpora = [
            corpus.model_copy(update={"weight": weight})
            for corpus, weight in zip(self.corpora, weights, strict=True)
        ]
        tokens = self.training.tokens or self._tokens(rows, weights)
        training = self.training.model_copy(update={"tokens": tokens, "epochs": None})
        return self.model_copy(update={"corpora": corpora, "training": training})

    def _weights(self, rows: Sequence[int]) -> tuple[float, ...]:
        given = [corpus.weight for corpus in self.corpora]
        left = 1 - math.fsum(weight for weight in given if weight is not None)
        total = sum(n for n, weight in zip(rows, given, strict=True) if weight is None)
        return tuple(
            left * n / total if weight is None else weight
            for n, weight in zip(rows, given, strict=True)
        )

    def _tokens(self, rows: Sequence[int], weights: Sequence[float]) -> int:
        """Of so many epochs of the sources without a weight."""
        unset = [number for number, corpus in enumerate(self.corpora) if corpus.weight is None]
        share = math.fsum(weights[number] for number in unset)
        wanted = (self.training.epochs or 2.0) * sum(rows[number] for number in unset) / share
        return math.ceil(wanted) * self.length_stages[0].length
