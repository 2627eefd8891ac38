"""Scores of given tokens: the same numbers as by any other way, and no row that is cut."""

import math
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch.nn import functional

from longspan.evaluate.scoring.batches import batched, score_all
from longspan.evaluate.scoring.requests import ChoiceRequest, LossRequest, Texts
from longspan.evaluate.scoring.scorer import BATCH_TOKENS, RowTooLong, Scorer
from longspan.model.attention import MAX_MASKED_LENGTH
from longspan.model.loss import CausalLMLoss
from tests.evaluate.scored import random_ids, reference_losses, sliding, zeroed_head
from tests.tiny import VOCABULARY, make_tiny_model

WINDOW = 256


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("scorer") / "llama", WINDOW, rope_base=500_000.0)


@pytest.fixture(scope="module")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough for an implementation of attention without a mask, which takes no keys of earlier calls."""
    return sliding(tmp_path_factory.mktemp("scorer") / "mistral", MAX_MASKED_LENGTH + 1)


@pytest.fixture(scope="module", params=["llama", "mistral"])
def folder(request: pytest.FixtureRequest, llama: Path, mistral: Path) -> Path:
    return llama if request.param == "llama" else mistral


@pytest.fixture(scope="module")
def scorer(folder: Path) -> Scorer:
    return Scorer.load(folder, "fp32")


@pytest.fixture(scope="module")
def of_llama(llama: Path) -> Scorer:
    return Scorer.load(llama, "fp32")


@pytest.mark.parametrize("first_target", [1, 60, 199])
def test_losses_are_those_of_transformers(folder: Path, scorer: Scorer, first_target: int) -> None:
    ids = random_ids(200)
    losses = scorer.token_losses(ids, first_target)
    assert losses.dtype == np.float32
    expected = reference_losses(folder, ids)[first_target - 1 :]
    np.testing.assert_allclose(losses, expected, atol=1e-4)


def test_losses_are_those_of_training(scorer: Scorer, folder: Path) -> None:
    ids = random_ids(200)
    row = torch.tensor([ids])
    model = CausalLMLoss(Scorer.load(folder, "fp32")._model.model, chunk=7)
    expected = model.token_losses(row[:, :-1], torch.arange(199)[None], row[:, 1:])[0]
    np.testing.assert_allclose(scorer.token_losses(ids, 1), expected, atol=1e-5)


def test_logits_of_a_few_targets_exist_at_a_time(llama: Path) -> None:
    scorer = Scorer.load(llama, "fp32")
    scorer._model.chunk = 16
    heads: list[int] = []
    head = scorer._model.head
    handle = head.register_forward_hook(lambda _, inputs, __: heads.append(len(inputs[0])))
    scorer.token_losses(random_ids(200), 160)
    handle.remove()
    assert heads == [16, 16, 8]


def test_attention_needs_no_mask_of_length_times_length(of_llama: Scorer) -> None:
    masks: list[tuple[int, ...] | None] = []
    attend = functional.scaled_dot_product_attention

    def recorded(*args: Any, attn_mask: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        masks.append(None if attn_mask is None else tuple(attn_mask.shape))
        return attend(*args, attn_mask=attn_mask, **kwargs)

    with patch.object(functional, "scaled_dot_product_attention", recorded):
        of_llama.batch_losses([(random_ids(200), 1), (random_ids(100), 1)])
        of_llama.choices(random_ids(200), [[5]])
        assert masks == [None] * 4
        of_llama.choices(random_ids(200), [[5], [5, 6, 7]])
    # Two tokens of the continuation attend to all before them.
    assert masks[4:] == [None, None, (1, 1, 2, 202), (1, 1, 2, 202)]


def test_rows_of_a_batch_do_not_see_each_other(scorer: Scorer) -> None:
    rows = [(random_ids(length, length), first) for length, first in [(90, 30), (40, 39), (9, 1)]]
    together = scorer.batch_losses(rows)
    for (ids, first), losses in zip(rows, together, strict=True):
        np.testing.assert_allclose(losses, scorer.token_losses(ids, first), atol=2e-5)


def test_continuations_that_share_a_context_are_scored_as_whole_rows(scorer: Scorer) -> None:
    context = random_ids(120)
    continuations = [random_ids(length, length) for length in (1, 1, 3, 17, 4)]
    with patch("longspan.evaluate.scoring.scorer.BATCH_TOKENS", 2 * len(context)):
        found = scorer.choices(context, continuations)
    expected = [
        -scorer.token_losses(context + continuation, len(context)).astype(float).sum()
        for continuation in continuations
    ]
    np.testing.assert_allclose(found.loglikelihoods, expected, rtol=1e-5)
    assert not any(found.is_greedy)
    # Losses are as before, whatever attention the choices took.
    np.testing.assert_allclose(
        -scorer.token_losses(context + continuations[2], len(context)).sum(), expected[2], rtol=1e-5
    )


def test_the_likeliest_tokens_are_greedy(llama: Path, of_llama: Scorer) -> None:
    context = random_ids(50)
    generated = of_llama._model.model.generate(
        torch.tensor([context]), do_sample=False, max_new_tokens=3, eos_token_id=None
    )[0, len(context) :].tolist()
    wrong = [*generated[:-1], (generated[-1] + 1) % VOCABULARY]
    found = of_llama.choices(context, [generated, generated[:1], wrong])
    assert found.is_greedy == (True, True, False)
    assert found.loglikelihoods[0] < found.loglikelihoods[1] < 0


def test_a_row_beyond_the_window_is_refused_with_both_numbers(llama: Path) -> None:
    scorer = Scorer.load(llama, "fp32")
    assert len(scorer.token_losses(random_ids(WINDOW), 1)) == WINDOW - 1
    with pytest.raises(RowTooLong, match="257 tokens, window of 256"):
        scorer.token_losses(random_ids(WINDOW + 1), 1)
    with pytest.raises(RowTooLong, match="257 tokens, window of 256"):
        scorer.choices(random_ids(WINDOW - 1), [[5], [5, 6]])
    beyond = Scorer.load(llama, "fp32", allow_beyond_window=True)
    ids = random_ids(WINDOW + 40)
    expected = reference_losses(llama, ids)
    np.testing.assert_allclose(beyond.token_losses(ids, 1), expected, atol=1e-4)


def test_refused_rows_are_problems_and_the_others_have_scores(of_llama: Scorer) -> None:
    texts = Texts()
    fits, too_long = (
        LossRequest((texts.span(random_ids(length)),), 1) for length in (WINDOW, WINDOW + 1)
    )
    choice = ChoiceRequest(tuple(random_ids(WINDOW)), ((5,),))
    scores = score_all(of_llama, [fits, too_long, choice], texts)
    assert len(scores[fits.id].losses) == WINDOW - 1
    assert not scores[fits.id].problem
    for refused in (too_long, choice):
        score = scores[refused.id]
        assert score.problem == "over_length: 257 tokens, window of 256"
        assert not len(score.losses)
        assert not score.loglikelihoods


def test_a_model_of_equal_logits_loses_the_logarithm_of_its_vocabulary(tmp_path: Path) -> None:
    scorer = Scorer.load(zeroed_head(tmp_path), "fp32")
    losses = scorer.token_losses(random_ids(200), 1)
    np.testing.assert_allclose(losses, math.log(VOCABULARY), atol=1e-6)
    found = scorer.choices(random_ids(20), [[7], [7, 8, 9]])
    np.testing.assert_allclose(
        found.loglikelihoods, -np.array([1, 3]) * math.log(VOCABULARY), atol=1e-5
    )


def test_bf16_is_near_fp32(llama: Path, of_llama: Scorer) -> None:
    ids = random_ids(100)
    half = Scorer.load(llama, "bf16")
    assert next(half._model.parameters()).dtype == torch.bfloat16
    np.testing.assert_allclose(half.token_losses(ids, 1), of_llama.token_losses(ids, 1), atol=0.1)


def test_batches_depend_on_the_requests_alone_and_are_bounded() -> None:
    texts = Texts()
    requests = [
        LossRequest((texts.span(random_ids(length, length)),), 1) for length in range(2, 400, 3)
    ]
    requests += [LossRequest((texts.span(random_ids(2 * BATCH_TOKENS)),), 1)]
    choices = [ChoiceRequest(tuple(random_ids(50, seed)), ((5,), (6, 7))) for seed in range(500)]
    batches = batched([*requests, *choices, *requests])
    assert batches == batched([*choices, *requests[::-1]])
    ids = [request.id for batch in batches for request in batch]
    assert sorted(ids) == sorted(request.id for request in [*requests, *choices])
    assert len(batches[0]) == 1  # The longest comes first, by itself.
    assert len(batches) > 4
    for batch in batches[1:]:
        assert len({type(request) for request in batch}) == 1
        padded = [
            batch[0].tokens if isinstance(each, LossRequest) else each.tokens for each in batch
        ]
        assert sum(padded) <= BATCH_TOKENS
