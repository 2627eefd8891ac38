"""Requests to a scorer and the scores that they get; both travel between processes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from longspan.hashing import ID_DIGITS, content_id

SCORES = pa.schema(
    [
        ("id", pa.string()),
        ("tokens", pa.int64()),
        ("problem", pa.string()),
        ("losses", pa.list_(pa.float32())),
        ("loglikelihoods", pa.list_(pa.float64())),
        ("is_greedy", pa.list_(pa.bool_())),
    ]
)
"""Committed scores; `problem` is "" or why there are none, `losses` are of a `LossRequest`, the others of choices."""


class Span(NamedTuple):
    """Some tokens of a text: those from `start` up to `end`."""

    text: str
    """Key of the text in `Texts`."""
    start: int
    end: int

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return self.end - self.start


class Texts:
    """Token ids of texts, int32, by a key that changes with them."""

    def __init__(self) -> None:
        self._ids: dict[str, np.ndarray] = {}

    def add(self, ids: Sequence[int] | np.ndarray) -> str:
        """Keep a text; returns its key."""
        tokens = np.asarray(ids, np.int32)
        key = hashlib.sha256(tokens.tobytes()).hexdigest()[:ID_DIGITS]
        self._ids[key] = tokens
        return key

    def span(self, ids: Sequence[int] | np.ndarray) -> Span:
        """Keep a text; returns all of it as a span."""
        return Span(self.add(ids), 0, len(ids))

    def row(self, spans: Sequence[Span]) -> np.ndarray:
        """Token ids of spans, one after another, int32 [tokens]."""
        return np.concatenate([self._ids[span.text][span.start : span.end] for span in spans])


@dataclass(frozen=True)
class LossRequest:
    """Asks for the loss of a row's last tokens, each given all tokens of the row before it.

    Attributes:
        row: the row's tokens.
        first_target: number of the first token whose loss is asked for; at least 1.
    """

    row: tuple[Span, ...]
    first_target: int

    def __post_init__(self) -> None:
        assert 0 < self.first_target < self.tokens, (
            f"target {self.first_target} of {self.tokens} tokens"
        )

    @cached_property
    def id(self) -> str:
        """Identity: of the tokens and what is asked."""
        return content_id("loss", self.row, self.first_target)

    @property
    def tokens(self) -> int:
        """Length of the row."""
        return sum(span.tokens for span in self.row)


@dataclass(frozen=True)
class ChoiceRequest:
    """Asks how likely each continuation of a context is.

    Attributes:
        context: token ids; at least one.
        continuations: token ids of each; at least one.
    """

    context: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        assert self.context and self.continuations and all(self.continuations), "nothing to score"

    @cached_property
    def id(self) -> str:
        """Identity: of the tokens."""
        return content_id("choices", self.context, self.continuations)

    @property
    def tokens(self) -> int:
        """Tokens that are computed: the context once, and all continuations."""
        return len(self.context) + sum(map(len, self.continuations))


Request = LossRequest | ChoiceRequest


@dataclass(frozen=True, eq=False)
class Score:
    """Answer to a request.

    Attributes:
        id: of the request.
        tokens: that were computed for it.
        problem: why there is no answer ("over_length: ..."); "" if there is one.
        losses: of each target, in nats, float32; for a `LossRequest`.
        loglikelihoods: of each continuation, in nats; for a `ChoiceRequest`.
        is_greedy: whether each token of a continuation is the likeliest one; for a `ChoiceRequest`.
    """

    id: str
    tokens: int
    problem: str = ""
    losses: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    loglikelihoods: tuple[float, ...] = ()
    is_greedy: tuple[bool, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return it as a row of `SCORES`."""
        return dict(vars(self))

    @classmethod
    def of_record(cls, row: dict[str, Any]) -> Score:
        """Return the score that a row of `SCORES` holds."""
        return cls(
            row["id"],
            row["tokens"],
            row["problem"],
            np.asarray(row["losses"], np.float32),
            tuple(row["loglikelihoods"]),
            tuple(row["is_greedy"]),
        )
