"""Key tokens: LongPPL's rule, one set for every tokenizer."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from longspan.evaluate.documents import Document
from longspan.evaluate.losses.by_position import head_request
from longspan.evaluate.losses.documents import TokenizedDocuments, tokenize
from longspan.evaluate.losses.key_tokens import (
    KeyTokenRule,
    KeyTokens,
    contained,
    find_key_tokens,
    key_token_requests,
    key_token_sums,
    key_tokens_path,
    read_key_tokens,
    write_key_tokens,
)
from longspan.evaluate.scoring.requests import Score
from longspan.storage import Store
from tests.evaluate.scored import held_out
from tests.tiny import make_tiny_tokenizer

RULE = KeyTokenRule(window=64, short=20, step=10)


@pytest.fixture(scope="module")
def documents() -> TokenizedDocuments:
    first, second = held_out(9, 12)
    short = Document("short", first.corpus, "short.txt", "The ships came first.")
    return tokenize(make_tiny_tokenizer(), [first, short, second])


def scores_of(
    documents: TokenizedDocuments, losses: dict[int, tuple[float, float]]
) -> dict[str, Score]:
    """Losses by token, with the short and the full context; those of all other tokens are 1 nat."""
    scores: dict[str, Score] = {}
    for each in key_token_requests(documents, RULE):
        short, full = np.ones(64, np.float32), np.ones(64, np.float32)
        for token, (with_short, with_full) in losses.items():
            short[token], full[token] = with_short, with_full
        scores[each.full.id] = Score(each.full.id, 64, losses=full[1:])
        for request in each.short:
            first = request.row[0].start + RULE.short
            last = request.row[0].end
            scores[request.id] = Score(request.id, 30, losses=short[first:last])
    return scores


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token for each byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: n for n, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def test_every_token_after_the_short_context_is_looked_at_once(
    documents: TokenizedDocuments,
) -> None:
    requests = key_token_requests(documents, RULE)
    assert len(requests) == 2 < len(documents.documents)  # One is too short for a short context.
    for each in requests:
        assert (each.full.tokens, each.full.first_target) == (64, 1)
        targets = []
        for request in each.short:
            (span,) = request.row
            assert request.first_target == RULE.short
            targets += range(span.start + RULE.short, span.end)
        assert targets == list(range(20, 64))


def test_tokens_that_need_the_long_context_and_have_it_are_key(
    documents: TokenizedDocuments,
) -> None:
    losses = {
        30: (3.1, 1.0),  # key
        31: (4.5, 2.4),  # hard even with the full context
        32: (2.9, 1.0),  # little gain
        33: (9.0, 0.1),  # key
        34: (9.0, 0.1),  # key, touches the one before
        5: (9.0, 0.1),  # within the short context
    }
    requests = key_token_requests(documents, RULE)
    found = find_key_tokens(documents, requests, scores_of(documents, losses), "model", RULE)
    assert len(found.spans) == 2
    for each in requests:
        spans = found.spans[each.document.document.id]
        inside = np.flatnonzero(contained(each.document.starts, each.document.ends, spans))
        assert inside.tolist() == [30, 33, 34]


def test_the_perplexity_is_of_the_key_tokens_alone(documents: TokenizedDocuments) -> None:
    key = find_key_tokens(
        documents,
        key_token_requests(documents, RULE),
        scores_of(documents, {30: (9.0, 0.0), 40: (9.0, 0.0)}),
        "model",
        RULE,
    )
    heads = {
        each.document.id: request
        for each in documents.documents
        if (request := head_request(documents, each, 64))
    }
    scores = {
        request.id: Score(
            request.id, request.tokens, losses=np.full(request.tokens - 1, 7, np.float32)
        )
        for request in heads.values()
    }
    for each in documents.documents[::2]:  # The second one has no key token.
        scores[heads[each.document.id].id].losses[[29, 39]] = (0.5, 1.5)
    sums = key_token_sums(documents, heads, scores, [key])
    assert sums.counts.tolist() == [[2], [2]]
    assert math.exp(sums.means()[0]) == pytest.approx(math.e)


def test_another_tokenizer_is_measured_on_the_same_characters(
    documents: TokenizedDocuments,
) -> None:
    key = find_key_tokens(
        documents,
        key_token_requests(documents, RULE),
        scores_of(documents, {30: (9.0, 0.0), 31: (9.0, 0.0)}),
        "model",
        RULE,
    )
    others = tokenize(byte_tokenizer(), [each.document for each in documents.documents])
    heads = {
        each.document.id: request
        for each in others.documents
        if (request := head_request(others, each, 4096))
    }
    scores = {
        request.id: Score(
            request.id, request.tokens, losses=np.arange(1, request.tokens, dtype=np.float32)
        )
        for request in heads.values()
    }
    sums = key_token_sums(others, heads, scores, [key])
    for number, id in enumerate(sums.documents):
        # Text of the documents is ASCII: token n is character n, and its loss is n.
        characters = [n for start, end in key.spans[id] for n in range(start, end)]
        assert sums.counts[number, 0] == len(characters) > 2
        assert sums.sums[number, 0] == sum(characters)


@given(
    edges=st.lists(st.integers(0, 40), min_size=2, max_size=10, unique=True),
    tokens=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=12),
)
def test_a_token_is_inside_if_all_its_characters_are(
    edges: list[int], tokens: list[tuple[int, int]]
) -> None:
    ordered = sorted(edges)[: len(edges) // 2 * 2]
    spans = list(zip(ordered[::2], ordered[1::2], strict=True))
    starts = np.array([start for start, _ in tokens], np.int64)
    ends = np.array([start + length for start, length in tokens], np.int64)
    expected = [
        length > 0 and any(set(range(start, start + length)) <= set(range(*span)) for span in spans)
        for start, length in tokens
    ]
    assert contained(starts, ends, spans).tolist() == expected


def test_a_set_is_stored_under_evaluator_rule_and_documents(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    key = KeyTokens("model", RULE, "documents", {"a": ((3, 5), (8, 9)), "b": ()})
    write_key_tokens(store, key)
    assert read_key_tokens(store, key.id) == key
    other = KeyTokens("other model", RULE, "documents", {})
    longer = KeyTokens("model", KeyTokenRule.of_window(128), "documents", {})
    assert len({key.id, other.id, longer.id}) == 3
    assert read_key_tokens(store, other.id) is None
    damaged = store.read_bytes(key_tokens_path(key.id)).replace(b"3", b"4")
    store.write_bytes(key_tokens_path(key.id), damaged)
    assert read_key_tokens(store, key.id) is None


def test_the_rule_scales_with_the_window() -> None:
    assert KeyTokenRule.of_window(8192) == KeyTokenRule(8192, 4096, 1024)
