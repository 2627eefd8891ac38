"""All losses of a model on held-out documents: what has to be scored, and the results of the scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from longspan.evaluate.fit import fit_power_law
from longspan.evaluate.losses.by_context import (
    TargetBlock,
    TargetChoice,
    context_lengths,
    context_sums,
    swap_sums,
    target_blocks,
)
from longspan.evaluate.losses.by_position import head_request, position_sums
from longspan.evaluate.losses.documents import TokenizedDocuments
from longspan.evaluate.losses.estimates import mean_loss, perplexity, relative_change
from longspan.evaluate.losses.key_tokens import (
    KeyTokenRule,
    KeyTokens,
    find_key_tokens,
    key_token_requests,
    key_token_sums,
    key_tokens_id,
    read_key_tokens,
    write_key_tokens,
)
from longspan.evaluate.losses.sums import LossSums
from longspan.evaluate.results import LossChange, LossPoint, LossResult
from longspan.evaluate.scoring.requests import LossRequest, Request, Score, Texts
from longspan.position_bands import position_bands

if TYPE_CHECKING:
    from longspan.storage import Store


class ScoreFunction(Protocol):
    """Scores requests, as `longspan.evaluate.scoring.pool.Pool.score` does."""

    def __call__(self, requests: Sequence[Request], texts: Texts, name: str) -> dict[str, Score]:
        """Return scores by the requests' ids."""
        ...


@dataclass(frozen=True)
class LossPlan:
    """Requests for all losses of one model.

    Attributes:
        documents: in the model's tokens.
        window: tokens of the longest row.
        choice: of the targets.
        contexts: lengths of context in tokens, ascending.
        heads: request for the losses by position, by id of document.
        blocks: matched targets.
    """

    documents: TokenizedDocuments
    window: int
    choice: TargetChoice
    contexts: tuple[int, ...]
    heads: Mapping[str, LossRequest]
    blocks: tuple[TargetBlock, ...]

    @classmethod
    def of(cls, documents: TokenizedDocuments, window: int, choice: TargetChoice) -> LossPlan:
        """Plan losses up to ``window`` tokens."""
        contexts = context_lengths(window, len(documents.prefix), choice)
        blocks = tuple(target_blocks(documents, contexts, choice))
        return cls(documents, window, choice, contexts, _heads(documents, window), blocks)

    def within(self, window: int) -> LossPlan:
        """Return the plan for a model of a shorter window, with the same targets, so that both can be compared.

        Its tokenizer has to be the same. Lengths of context beyond its window are left out, and with the longest one
        the swap of its far half.
        """
        window = min(window, self.window)
        around = len(self.documents.prefix) + self.choice.targets
        return replace(
            self,
            window=window,
            contexts=tuple(length for length in self.contexts if length + around <= window),
            heads=_heads(self.documents, window),
            blocks=tuple(block.within(window) for block in self.blocks),
        )

    @property
    def requests(self) -> list[LossRequest]:
        """All of them."""
        rows = [request for block in self.blocks for request in block.requests()]
        return [*self.heads.values(), *rows]

    @property
    def tokens(self) -> int:
        """Tokens that are computed."""
        return sum(request.tokens for request in self.requests)

    @property
    def too_short(self) -> Counter[str]:
        """Documents by corpus that are shorter than the longest context and so have no matched targets.

        None if the window is too short for any context: that is not due to the documents.
        """
        if not self.contexts:
            return Counter()
        used = {block.document.document.id for block in self.blocks}
        return Counter(
            each.document.corpus
            for each in self.documents.documents
            if each.document.id not in used
        )

    def losses(self, scores: Mapping[str, Score], key: Sequence[KeyTokens] | None = None) -> Losses:
        """Return sums of scores by id of request; of key tokens where there are some."""
        swapped, unswapped = swap_sums(self.blocks, scores)
        return Losses(
            position_sums(self.documents, self.heads, scores, self.window),
            context_sums(self.blocks, scores, self.contexts),
            swapped.minus(unswapped),
            key_token_sums(self.documents, self.heads, scores, key) if key is not None else None,
            position_bands(self.window),
            self.contexts,
            self.too_short,
        )


class LossesByContext(Protocol):
    """Losses of one model by length of context, as `Losses` has them."""

    @property
    def by_context(self) -> LossSums:
        """Sums by document, [documents, contexts]."""
        ...

    @property
    def contexts(self) -> tuple[int, ...]:
        """Lengths of context in tokens, ascending."""
        ...


@dataclass(frozen=True)
class Losses:
    """Sums of losses of one model, by document; what results and comparisons are made of.

    Attributes:
        by_position: [documents, bands].
        by_context: [documents, contexts].
        far_swap: rise with the far half of the longest context swapped, [documents, 1].
        key_tokens: [documents, 1]; None if there is no set of key tokens.
        bands: positions [from, to).
        contexts: tokens, ascending.
        too_short: documents by corpus that are shorter than the longest context.
    """

    by_position: LossSums
    by_context: LossSums
    far_swap: LossSums
    key_tokens: LossSums | None
    bands: tuple[tuple[int, int], ...]
    contexts: tuple[int, ...]
    too_short: Mapping[str, int]

    @property
    def last_doubling_gain(self) -> LossSums | None:
        """Loss at half the longest context minus loss at the longest, [documents, 1]; None without both."""
        if len(self.contexts) < 2 or not self.by_context.documents:
            return None
        longest = len(self.contexts) - 1
        return self.by_context.column(longest - 1).minus(self.by_context.column(longest))

    def results(self, seed: int) -> list[LossResult]:
        """Return results of all documents together, then of each corpus; ``seed`` is the bootstrap's."""
        corpora = list(dict.fromkeys(self.by_position.corpora))
        return [self._result(corpus, seed) for corpus in [None, *corpora]]

    def _result(self, corpus: str | None, seed: int) -> LossResult:
        gain, by_context = self.last_doubling_gain, self.by_context.of_corpus(corpus)
        key = self.key_tokens.of_corpus(corpus) if self.key_tokens is not None else None
        return LossResult(
            corpus=corpus,
            by_position=_points(self.by_position.of_corpus(corpus), self.bands, seed),
            by_context=_points(by_context, [(c, c) for c in self.contexts], seed),
            too_short=sum(self.too_short.values())
            if corpus is None
            else self.too_short.get(corpus, 0),
            last_doubling_gain=mean_loss(gain.of_corpus(corpus), seed) if gain else None,
            far_swap=mean_loss(self.far_swap.of_corpus(corpus), seed),
            key_token_perplexity=perplexity(key, seed) if key is not None else None,
            key_tokens=int(key.counts.sum()) if key is not None else 0,
            power_law=fit_power_law(self.contexts, by_context.sums, by_context.counts, seed),
        )


def loss_changes(own: LossesByContext, reference: LossesByContext, seed: int) -> list[LossChange]:
    """Changes of the loss against a reference model on the same tokens, by corpus and length of context.

    Args:
        own: losses of a model by a plan.
        reference: losses of the reference by the same plan, `LossPlan.within` its window.
        seed: of the bootstrap.
    """
    changes = []
    for corpus in [None, *dict.fromkeys(own.by_context.corpora)]:
        for context in sorted(set(own.contexts) & set(reference.contexts)):
            sums, base = (
                each.by_context.of_corpus(corpus).column(each.contexts.index(context))
                for each in (own, reference)
            )
            change = relative_change(sums, base, seed)
            if change is not None:
                changes.append(LossChange(corpus=corpus, context=context, change=change))
    return changes


def choose_key_tokens(
    store: Store,
    score: ScoreFunction,
    evaluator: str,
    documents: TokenizedDocuments,
    rule: KeyTokenRule,
) -> list[KeyTokens]:
    """Return the key tokens of each corpus: those in the store, or else chosen by an evaluator model and stored.

    Args:
        store: keeps them.
        score: scores with the evaluator.
        evaluator: its identity, with its precision.
        documents: in the evaluator's tokens.
        rule: whose window is not above the evaluator's.
    """
    corpora = {corpus: documents.of_corpus(corpus) for corpus in documents.corpora}
    found = {
        corpus: read_key_tokens(store, key_tokens_id(evaluator, rule, own.hash))
        for corpus, own in corpora.items()
    }
    requests = {
        corpus: key_token_requests(own, rule)
        for corpus, own in corpora.items()
        if found[corpus] is None
    }
    rows = [row for own in requests.values() for each in own for row in (each.full, *each.short)]
    scores = score(rows, documents.texts, "key tokens") if rows else {}
    for corpus, own in requests.items():
        key = find_key_tokens(corpora[corpus], own, scores, evaluator, rule)
        write_key_tokens(store, key)
        found[corpus] = key
    return [key for key in found.values() if key is not None]


def _heads(documents: TokenizedDocuments, window: int) -> dict[str, LossRequest]:
    return {
        each.document.id: request
        for each in documents.documents
        if (request := head_request(documents, each, window)) is not None
    }


def _points(sums: LossSums, bands: Sequence[tuple[int, int]], seed: int) -> list[LossPoint]:
    """Points of the columns that have tokens."""
    found = [
        (first, last, mean_loss(sums.column(number), seed))
        for number, (first, last) in enumerate(bands)
    ]
    return [
        LossPoint(first=first, last=last, loss=loss)
        for first, last, loss in found
        if loss is not None
    ]
