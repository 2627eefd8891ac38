"""Requests of all suites, asked together: engines start once, and batches are full."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from longspan.errors import UserError
from longspan.evaluate.scoring.requests import ChoiceRequest, LossRequest, Score, Texts
from longspan.evaluate.suites.model import SuiteModel
from longspan.evaluate.suites.replies import Prompt, replies
from longspan.generate.progress import Log
from longspan.generate.requests import Row
from longspan.storage import Store


class Pair(NamedTuple):
    """A context and a continuation, as token ids."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


@dataclass(frozen=True)
class Likelihood:
    """How likely a continuation is.

    Attributes:
        value: log-likelihood in nats.
        is_greedy: whether each of its tokens is the likeliest one.
        problem: why there is none ("over_length: ..."); "" if there is one.
    """

    value: float
    is_greedy: bool
    problem: str = ""


class Answers:
    """Requests of all tasks to a model, and its answers."""

    def __init__(self, model: SuiteModel) -> None:
        """Nothing is wanted of ``model`` yet."""
        self.model = model
        self.texts = Texts()
        self._continuations: dict[tuple[int, ...], dict[tuple[int, ...], None]] = {}
        self._losses: dict[str, LossRequest] = {}
        self._prompts: dict[str, Prompt] = {}
        self._likelihoods: dict[Pair, Likelihood] = {}
        self._scores: dict[str, Score] = {}
        self._replies: dict[str, Row] = {}

    def want_likelihood(self, pair: Pair) -> None:
        """Ask for the likelihood of a continuation."""
        self._continuations.setdefault(pair.context, {})[pair.continuation] = None

    def want_losses(self, requests: Iterable[LossRequest]) -> None:
        """Ask for losses of texts in `texts`."""
        self._losses |= {request.id: request for request in requests}

    def want_reply(self, prompt: Prompt) -> None:
        """Ask for the reply to a prompt."""
        self._prompts[prompt.id] = prompt

    def ask(self, store: Store, log: Log) -> None:
        """Ask for all that is wanted.

        Raises:
            UserError: the model cannot do it, or cannot be reached.
        """
        choices = [
            ChoiceRequest(context, tuple(own)) for context, own in self._continuations.items()
        ]
        if choices or self._losses:
            if self.model.scoring is None:
                raise UserError(
                    "suites: some tasks compare likelihoods of given answers, which an endpoint does not tell; "
                    "evaluate the model itself, or leave these tasks out"
                )
            found = self.model.scoring.score(
                [*choices, *self._losses.values()], self.texts, "suites"
            )
            self._scores = {id: found[id] for id in self._losses}
            for choice in choices:
                self._likelihoods |= _likelihoods(choice, found[choice.id])
        if self._prompts:
            if self.model.generator is None:
                raise UserError("suites: some tasks need replies, and no generator is configured")
            self._replies = replies(self.model, list(self._prompts.values()), store, log)

    def likelihood(self, pair: Pair) -> Likelihood:
        """Return the likelihood of a continuation that was asked for."""
        return self._likelihoods[pair]

    def losses(self, request: LossRequest) -> Score:
        """Return the losses that were asked for."""
        return self._scores[request.id]

    def reply(self, id: str) -> Row:
        """Return the reply to a prompt that was asked for, as a row of `replies.SCHEMA`."""
        return self._replies[id]


def _likelihoods(choice: ChoiceRequest, score: Score) -> dict[Pair, Likelihood]:
    pairs = [Pair(choice.context, each) for each in choice.continuations]
    if score.problem:
        return {pair: Likelihood(0.0, False, score.problem) for pair in pairs}
    values = map(Likelihood, score.loglikelihoods, score.is_greedy)
    return dict(zip(pairs, values, strict=True))
