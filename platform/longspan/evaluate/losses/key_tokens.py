"""Key tokens: those that an evaluator model predicts well with a long context, and not with a short one.

LongPPL (arXiv 2410.23771, section 3): a token is a key token if loss(short) - loss(full) > 2 and loss(full) < 2 nats.
The short context is of 4,096 tokens there and slides by 1,024; here both scale with the window. Which tokens are key
is decided once for a corpus by one evaluator and stored as spans of characters, so that models with other tokenizers
are measured on the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from longspan.evaluate.losses.by_position import head_request
from longspan.evaluate.losses.documents import TokenizedDocument, TokenizedDocuments
from longspan.evaluate.losses.sums import LossSums, exact_sum
from longspan.evaluate.scoring.requests import LossRequest, Score
from longspan.hashing import content_id
from longspan.storage import sealed

if TYPE_CHECKING:
    from longspan.storage import Store

VERSION = 1
"""Increased when the same rule would find other tokens."""

Characters = tuple[int, int]


@dataclass(frozen=True)
class KeyTokenRule:
    """Definition of key tokens.

    Attributes:
        window: tokens of a document's beginning that are looked at, and of the full context at most.
        short: tokens of the short context of the first target of a row.
        step: targets of a row with a short context; the last has so many tokens more.
        min_gain: loss with the short context minus loss with the full one, above which a token is key, in nats.
        max_loss: loss with the full context, below which a token is key, in nats.
    """

    window: int
    short: int
    step: int
    min_gain: float = 2.0
    max_loss: float = 2.0

    @classmethod
    def of_window(cls, window: int) -> KeyTokenRule:
        """Scale LongPPL's short context and step (4,096 and 1,024) to half and an eighth of the window."""
        return cls(window, window // 2, max(1, window // 8))


@dataclass(frozen=True)
class KeyTokens:
    """Key tokens of a corpus.

    Attributes:
        evaluator: identity of the model that chose them, with its precision.
        rule: by which they were chosen.
        documents_hash: of the corpus's documents.
        spans: characters [from, to) of the key tokens by id of document, ascending, adjacent ones joined.
    """

    evaluator: str
    rule: KeyTokenRule
    documents_hash: str
    spans: Mapping[str, tuple[Characters, ...]]

    @property
    def id(self) -> str:
        """Identity: of the evaluator, the rule and the documents."""
        return key_tokens_id(self.evaluator, self.rule, self.documents_hash)


@dataclass(frozen=True)
class KeyTokenRequests:
    """Requests for one document.

    Attributes:
        full: all losses of the document's beginning.
        short: losses of its tokens with a short context, in order, from token `rule.short` on.
    """

    document: TokenizedDocument
    full: LossRequest
    short: tuple[LossRequest, ...]


def key_tokens_id(evaluator: str, rule: KeyTokenRule, documents: str) -> str:
    """Identity of the key tokens of documents (`documents_hash`) by a rule and an evaluator."""
    return content_id("key tokens", VERSION, evaluator, asdict(rule), documents)


def key_token_requests(documents: TokenizedDocuments, rule: KeyTokenRule) -> list[KeyTokenRequests]:
    """Return requests for the documents that are longer than the short context."""
    found = []
    for document in documents.documents:
        full = head_request(documents, document, rule.window)
        taken = min(len(document), rule.window - len(documents.prefix))
        if full is None or taken <= rule.short:
            continue
        edges = [*range(rule.short, taken, rule.step), taken]
        short = tuple(
            LossRequest(
                documents.row(document.span(first - rule.short, end)),
                len(documents.prefix) + rule.short,
            )
            for first, end in pairwise(edges)
        )
        found.append(KeyTokenRequests(document, full, short))
    return found


def find_key_tokens(
    documents: TokenizedDocuments,
    requests: Sequence[KeyTokenRequests],
    scores: Mapping[str, Score],
    evaluator: str,
    rule: KeyTokenRule,
) -> KeyTokens:
    """Choose key tokens by the evaluator's scores.

    Args:
        documents: of one corpus, in the evaluator's tokens.
        requests: of `key_token_requests`.
        scores: by id of request.
        evaluator: identity of the evaluator, with its precision.
        rule: of the requests.
    """
    spans = {}
    for each in requests:
        short = np.concatenate([scores[request.id].losses for request in each.short])
        full = scores[each.full.id].losses[-len(short) :]
        is_key = (short - full > rule.min_gain) & (full < rule.max_loss)
        tokens = rule.short + np.flatnonzero(is_key)
        starts, ends = each.document.starts[tokens], each.document.ends[tokens]
        spans[each.document.document.id] = _joined(starts.tolist(), ends.tolist())
    return KeyTokens(evaluator, rule, documents.hash, spans)


def key_token_sums(
    documents: TokenizedDocuments,
    requests: Mapping[str, LossRequest],
    scores: Mapping[str, Score],
    key: Sequence[KeyTokens],
) -> LossSums:
    """Sum a model's losses on key tokens by document, [documents, 1].

    A token of the model counts if all its characters are in one span of key tokens.

    Args:
        documents: in the model's tokens.
        requests: `head_request` by id of document.
        scores: by id of request.
        key: of all corpora.
    """
    spans = {id: own for tokens in key for id, own in tokens.spans.items()}
    measured = [
        each
        for each in documents.documents
        if spans.get(each.document.id) and each.document.id in requests
    ]
    sums, counts = np.zeros((len(measured), 1)), np.zeros((len(measured), 1), np.int64)
    for number, document in enumerate(measured):
        losses = scores[requests[document.document.id].id].losses
        # Without a prefix a document's first token has no loss.
        last = min(len(document), requests[document.document.id].tokens - len(documents.prefix))
        scored = slice(last - len(losses), last)
        inside = contained(
            document.starts[scored], document.ends[scored], spans[document.document.id]
        )
        sums[number, 0] = exact_sum(losses[inside])
        counts[number, 0] = int(inside.sum())
    return LossSums(
        tuple(each.document.id for each in measured),
        tuple(each.document.corpus for each in measured),
        sums,
        counts,
    )


def contained(starts: np.ndarray, ends: np.ndarray, spans: Sequence[Characters]) -> np.ndarray:
    """Whether each token has characters and all of them are in one span, bool [tokens].

    Args:
        starts: each token's first character, int64 [tokens].
        ends: the character after its last.
        spans: ascending, not overlapping.
    """
    if not len(spans):
        return np.zeros(len(starts), bool)
    edges = np.array(spans, np.int64)
    number = np.searchsorted(edges[:, 0], starts, side="right") - 1
    return (ends > starts) & (number >= 0) & (ends <= edges[number, 1])


def key_tokens_path(id: str) -> str:
    """Path in the store of the key tokens of an identity."""
    return f"evaluate/key-tokens/{id}.json"


def write_key_tokens(store: Store, key: KeyTokens) -> None:
    """Store key tokens under their identity."""
    value = {
        "evaluator": key.evaluator,
        "rule": asdict(key.rule),
        "documents": key.documents_hash,
        "spans": {id: [list(span) for span in spans] for id, spans in key.spans.items()},
    }
    store.write_bytes(key_tokens_path(key.id), sealed.dumps(value))


def read_key_tokens(store: Store, id: str) -> KeyTokens | None:
    """Read key tokens by their identity; None if they have not been chosen yet, or are damaged."""
    try:
        value = sealed.read(store, key_tokens_path(id))
    except (FileNotFoundError, sealed.Damaged):
        return None
    spans = {
        document: tuple((start, end) for start, end in own)
        for document, own in value["spans"].items()
    }
    return KeyTokens(value["evaluator"], KeyTokenRule(**value["rule"]), value["documents"], spans)


def _joined(starts: Sequence[int], ends: Sequence[int]) -> tuple[Characters, ...]:
    """Spans of tokens in order; those that touch or overlap are one."""
    joined: list[Characters] = []
    for start, end in zip(starts, ends, strict=True):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return tuple(joined)
