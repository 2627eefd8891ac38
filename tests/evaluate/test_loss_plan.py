"""Losses of models whose use of context is known by construction."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspan.evaluate.losses.by_context import (
    TargetChoice,
    context_lengths,
    context_sums,
    target_blocks,
)
from longspan.evaluate.losses.documents import TokenizedDocument, TokenizedDocuments, tokenize
from longspan.evaluate.losses.key_tokens import KeyTokenRule
from longspan.evaluate.losses.measure import (
    LossPlan,
    ScoreFunction,
    choose_key_tokens,
    loss_changes,
)
from longspan.evaluate.scoring.batches import score_all
from longspan.evaluate.scoring.requests import Request, Score, Texts
from longspan.evaluate.scoring.scorer import Scorer
from longspan.model.load import load_tokenizer
from longspan.storage import Store
from tests.evaluate.scored import held_out, reference_losses, sliding, zeroed_head
from tests.tiny import VOCABULARY, make_tiny_model

REACH, LAYERS = 16, 2
CHOICE = TargetChoice(targets=8, blocks=3, seed=5, shortest=4)


def scored_by(scorer: Scorer) -> ScoreFunction:
    return lambda requests, texts, name: score_all(scorer, requests, texts)


def unscored() -> ScoreFunction:
    def score(requests: Sequence[Request], texts: Texts, name: str) -> dict[str, Score]:
        raise AssertionError(f"{name}: {len(requests)} requests")

    return score


def plan_of(folder: Path, window: int, *sentences: int) -> LossPlan:
    documents = [*held_out(*sentences), *held_out(*sentences, corpus="letters")]
    return LossPlan.of(tokenize(load_tokenizer(folder), documents), window, CHOICE)


def test_equal_logits_lose_the_same_everywhere_and_gain_nothing(tmp_path: Path) -> None:
    folder, store = zeroed_head(tmp_path / "model"), Store(str(tmp_path / "store"))
    score = scored_by(Scorer.load(folder, "fp32"))
    plan = plan_of(folder, 256, 30, 60)
    scores = score(plan.requests, plan.documents.texts, "")
    rule = KeyTokenRule.of_window(256)
    key = choose_key_tokens(store, score, "evaluator", plan.documents, rule)
    losses = plan.losses(scores, key)
    for result in losses.results(seed=0):
        points = [*result.by_position, *result.by_context]
        assert len(result.by_context) == 5
        assert result.power_law is not None and result.power_law.problem
        for point in points:
            assert point.loss.value == pytest.approx(math.log(VOCABULARY), abs=1e-6)
        assert result.last_doubling_gain is not None and result.far_swap is not None
        assert result.last_doubling_gain.value == pytest.approx(0, abs=1e-6)
        assert result.far_swap.value == pytest.approx(0, abs=1e-6)
        assert result.key_tokens == 0
        assert result.key_token_perplexity is None
    # Each document has been looked at: a rule without thresholds finds tokens in it.
    anything = KeyTokenRule(256, 128, 32, min_gain=-1.0, max_loss=100.0)
    found = choose_key_tokens(store, score, "evaluator", plan.documents, anything)
    assert all(spans for each in found for spans in each.spans.values())
    # They are chosen once, each corpus for itself.
    none = unscored()
    assert choose_key_tokens(store, none, "evaluator", plan.documents, anything) == found
    letters = plan.documents.of_corpus("letters")
    assert choose_key_tokens(store, none, "evaluator", letters, anything) == found[1:]


def test_context_beyond_the_reach_of_attention_changes_nothing(tmp_path: Path) -> None:
    """But for rotary angles, which round differently at other positions in float32: 5e-4 nats per token."""
    folder = sliding(tmp_path, 512, REACH, LAYERS)
    plan = plan_of(folder, 512, 60, 70)
    scores = score_all(Scorer.load(folder, "fp32"), plan.requests, plan.documents.texts)
    within = [n for n, length in enumerate(plan.contexts) if length >= REACH * LAYERS]
    assert [plan.contexts[n] for n in within] == [56, 120, 248, 504]
    for block in plan.blocks:
        longest = scores[block.rows[-1].id].losses
        for number in within:
            np.testing.assert_allclose(scores[block.rows[number].id].losses, longest, atol=5e-4)
        assert block.swapped is not None
        np.testing.assert_allclose(scores[block.swapped.id].losses, longest, atol=1e-5)
        # What is in reach does matter.
        shorter = scores[block.rows[0].id].losses
        assert np.abs(shorter - longest).max() > 5e-2
    for result in plan.losses(scores).results(seed=0):
        assert result.last_doubling_gain is not None and result.far_swap is not None
        assert result.last_doubling_gain.value == pytest.approx(0, abs=1e-4)
        assert result.far_swap.value == pytest.approx(0, abs=1e-5)


def test_a_swapped_far_half_changes_the_loss_of_full_attention(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path)
    plan = plan_of(folder, 256, 30, 60)
    scores = score_all(Scorer.load(folder, "fp32"), plan.requests, plan.documents.texts)
    for block in plan.blocks:
        assert block.swapped is not None
        change = scores[block.swapped.id].losses - scores[block.rows[-1].id].losses
        assert np.abs(change).max() > 1e-4


def test_losses_by_position_are_the_plain_ones(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path)
    plan = plan_of(folder, 256, 3, 30)
    scores = score_all(Scorer.load(folder, "fp32"), plan.requests, plan.documents.texts)
    sums = plan.losses(scores).by_position
    ids = [plan.documents.texts.row([each.span(0, len(each))]) for each in plan.documents.documents]
    for number, row in enumerate(ids):
        expected = reference_losses(folder, row[:256].tolist()).double()
        assert sums.counts[number].sum() == len(expected)
        for band, (first, last) in enumerate(((0, 64), (64, 128), (128, 256))):
            own = expected[first:last]
            assert sums.counts[number, band] == len(own)
            assert sums.sums[number, band] == pytest.approx(float(own.sum()), abs=1e-3)
    assert sums.of_corpus("letters").documents == sums.documents[2:]


def test_documents_without_enough_context_are_left_out_and_counted(tmp_path: Path) -> None:
    plan = plan_of(make_tiny_model(tmp_path), 256, 3, 30, 5)
    assert plan.too_short == {"notes": 2, "letters": 2}
    assert len(plan.heads) == 6
    scores = {
        request.id: Score(
            request.id, request.tokens, losses=np.ones(request.tokens - request.first_target)
        )
        for request in plan.requests
    }
    found = plan.losses(scores).results(seed=0)
    assert {each.corpus: each.too_short for each in found} == {None: 4, "notes": 2, "letters": 2}


def test_a_window_without_room_for_any_context_is_not_due_to_the_documents(tmp_path: Path) -> None:
    plan = plan_of(make_tiny_model(tmp_path), 10, 30)
    assert plan.contexts == ()
    assert not plan.too_short


def test_without_another_document_nothing_is_swapped(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path)
    plan = LossPlan.of(tokenize(load_tokenizer(folder), held_out(30)), 256, CHOICE)
    scores = score_all(Scorer.load(folder, "fp32"), plan.requests, plan.documents.texts)
    together, notes = plan.losses(scores).results(seed=0)
    assert together.far_swap is None and notes.far_swap is None
    assert together.last_doubling_gain is not None


def test_a_prefix_begins_every_row_and_is_never_scored(tmp_path: Path) -> None:
    documents = tokenize(load_tokenizer(make_tiny_model(tmp_path)), held_out(30, 40))
    begun = TokenizedDocuments(documents.documents, (1,), documents.texts)
    plan = LossPlan.of(begun, 256, CHOICE)
    for request in plan.requests:
        row = begun.texts.row(request.row)
        assert row[0] == 1
        assert len(row) == request.tokens <= 256
    head = plan.heads[documents.documents[0].document.id]
    assert head.first_target == 1
    assert plan.contexts[-1] == 256 - 8 - 1


def test_a_model_of_a_shorter_window_is_compared_on_the_same_tokens(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path)
    plan = plan_of(folder, 256, 30, 60)
    shorter = plan.within(64)
    assert (plan.contexts, shorter.contexts) == ((8, 24, 56, 120, 248), (8, 24, 56))
    assert {request.id for block in shorter.blocks for request in block.requests()} == {
        row.id for block in plan.blocks for row in block.rows[:3]
    }
    assert max(request.tokens for request in shorter.requests) == 64
    # A reference that loses half as much everywhere.
    scores = {
        request.id: Score(
            request.id,
            request.tokens,
            losses=np.full(request.tokens - request.first_target, 1, np.float32),
        )
        for request in [*plan.requests, *shorter.requests]
    }
    halved = {id: replace(score, losses=score.losses / 2) for id, score in scores.items()}
    changes = loss_changes(plan.losses(scores), shorter.losses(halved), seed=0)
    assert [(each.corpus, each.context) for each in changes] == [
        (corpus, context) for corpus in (None, "notes", "letters") for context in (8, 24, 56)
    ]
    for each in changes:
        assert each.change.value == pytest.approx(1.0)
        assert (each.change.n, each.change.clusters) == (
            (96, 4) if each.corpus is None else (48, 2)
        )


def of_length(tokens: int, number: int) -> TokenizedDocument:
    (document,) = held_out(number + 1, corpus=f"corpus {number % 2}")
    places = np.arange(tokens + 1)
    return TokenizedDocument(document, f"text {number}", places[:-1], places[1:])


@given(
    lengths=st.lists(st.integers(1, 900), min_size=1, max_size=6),
    window=st.integers(20, 300),
    targets=st.integers(1, 12),
    blocks=st.integers(1, 5),
    seed=st.integers(0, 9),
)
def test_targets_are_the_same_tokens_for_every_length_of_context(
    lengths: list[int], window: int, targets: int, blocks: int, seed: int
) -> None:
    choice = TargetChoice(targets, blocks, seed, shortest=3)
    contexts = context_lengths(window, 0, choice)
    # Rows of the window, half of it, ... as long as three tokens of context are left.
    rows = [window >> n for n in range(10) if (window >> n) - targets >= 3]
    assert [length + targets for length in contexts] == rows[::-1]
    documents = tuple(of_length(tokens, number) for number, tokens in enumerate(lengths))
    tokenized = TokenizedDocuments(documents, (), Texts())
    found = target_blocks(tokenized, contexts, choice)
    places: dict[str, list[int]] = {}
    for block in found:
        end = block.rows[-1].row[-1].end
        places.setdefault(block.document.text, []).append(end)
        for length, request in zip(contexts, block.rows, strict=True):
            (span,) = request.row
            assert (span.text, span.end) == (block.document.text, end)
            assert request.first_target == length
            assert request.tokens == length + targets
        if block.swapped is not None:
            other, near = block.swapped.row
            assert other.text != near.text == block.document.text
            assert other.tokens == contexts[-1] // 2
            assert (near.end, block.swapped.tokens) == (end, block.rows[-1].tokens)
            assert block.swapped.first_target == contexts[-1]
    for document in documents:
        ends = places.get(document.text, [])
        assert len(ends) == max(0, min(blocks, (len(document) - contexts[-1]) // targets))
        assert all(b - a >= targets for a, b in pairwise(ends))
        assert all(end <= len(document) for end in ends)
    # What is asked of a document does not depend on the others, but for the text that is swapped in.
    alone = target_blocks(TokenizedDocuments(documents[:1], (), Texts()), contexts, choice)
    first = [block.rows for block in found if block.document.text == documents[0].text]
    assert [block.rows for block in alone] == first


def test_sums_are_of_tokens_and_not_of_documents(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path)
    plan = plan_of(folder, 64, 3, 40)
    scores = score_all(Scorer.load(folder, "fp32"), plan.requests, plan.documents.texts)
    sums = context_sums(plan.blocks, scores, plan.contexts)
    assert len(set(sums.counts[:, 0])) > 1, "documents of equal numbers of targets"
    losses = np.concatenate([scores[block.rows[0].id].losses for block in plan.blocks])
    assert sums.means()[0] == pytest.approx(losses.astype(float).mean(), rel=1e-12)
    assert sums.counts[:, 0].sum() == len(losses)
