"""The model that suites are run on, as its parts: tokenizer, scoring, and generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from longspan.hashing import content_id

if TYPE_CHECKING:
    from longspan.evaluate.scoring.requests import Request, Score, Texts
    from longspan.generate.generators import TextGenerator

VERSION = 1
"""Increased when the same request would get another reply."""


class Scoring(Protocol):
    """Scores requests with a model, and keeps the scores where it can: `longspan.evaluate.scoring.pool.Pool`."""

    def score(self, requests: Sequence[Request], texts: Texts, name: str) -> Mapping[str, Score]:
        """Return the scores of all requests by their ids.

        Args:
            requests: in any order.
            texts: of their rows.
            name: of the work, in lines and on dashboards.
        """
        ...


@dataclass(frozen=True)
class SuiteModel:
    """A model under evaluation.

    Attributes:
        identity: changes with its weights, and with the engine's arguments that may change a reply.
        window: tokens of a prompt and its answer, at most.
        tokenizer: of transformers.
        scoring: likelihoods of given tokens; None for an endpoint, which gives none.
        generator: replies; None if only likelihoods are asked for.
        chat: put prompts into the chat template of the tokenizer.
    """

    identity: str
    window: int
    tokenizer: Any
    scoring: Scoring | None = None
    generator: TextGenerator | None = None
    chat: bool = False

    @property
    def replies_folder(self) -> str:
        """Folder of its replies in the store; evaluations share it."""
        return f"evaluate/suite_replies/{content_id(VERSION, self.identity)}"
