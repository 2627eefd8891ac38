from dataclasses import replace

import pytest

from longspan.order.order import Stage
from longspan.plan.flops import (
    document_flops,
    flops_per_token,
    model_flops_utilization,
    published_flops_per_token,
    training_flops,
    update_flops,
)

# Llama 2 7B by hand: 6 * 6,738,415,616 for the weights, 12 * 32 * 4096 = 1,572,864 for each of the
# positions that a token attends to.
WEIGHTS = 40_430_493_696
PAIR = 1_572_864


def test_llama2_7b_at_4k_is_what_it_is_by_hand(llama2_7b):
    assert llama2_7b.parameters == 6_738_415_616
    assert flops_per_token(llama2_7b, 4096, causal=False) == WEIGHTS + 6_442_450_944
    assert flops_per_token(llama2_7b, 4096) == WEIGHTS + 3_221_225_472


@pytest.mark.parametrize(("length", "published"), [(32_768, 3.783e22), (4096, 1.892e22)])
def test_the_papers_table_of_flops_is_reproduced(length, published):
    tokens = 100_000 * 4_194_304
    assert tokens * published_flops_per_token(32, 4096, length) == pytest.approx(
        published, rel=5e-4
    )


@pytest.mark.parametrize(
    ("switch", "published"), [(0.2, 3.405e22), (0.4, 3.026e22), (0.8, 2.270e22)]
)
def test_the_papers_curriculum_savings_are_reproduced(switch, published):
    short, long = (published_flops_per_token(32, 4096, length) for length in (4096, 32_768))
    tokens = 100_000 * 4_194_304
    assert tokens * (switch * short + (1 - switch) * long) == pytest.approx(published, rel=5e-4)


def test_our_full_count_is_the_papers_plus_what_it_leaves_out(llama2_7b):
    # The paper takes 12 h^2 weights a layer; the model's MLP, norms and embeddings add 4.6 %.
    extra = 6 * (llama2_7b.parameters - 12 * 32 * 4096**2)
    ours = flops_per_token(llama2_7b, 32_768, causal=False)
    assert ours == pytest.approx(published_flops_per_token(32, 4096, 32_768) + extra, rel=1e-12)


def test_a_run_counts_each_stage_at_its_own_length(llama2_7b):
    stages = [Stage(4096, 1024, 40), Stage(32_768, 128, 60)]
    count = training_flops(llama2_7b, stages)
    update_tokens = 4_194_304
    full = update_tokens * (100 * WEIGHTS + PAIR * (40 * 4096 + 60 * 32_768))
    assert count.full == pytest.approx(full, rel=1e-12)
    assert count.full - count.causal == pytest.approx(
        update_tokens * PAIR / 2 * (40 * 4096 + 60 * 32_768), rel=1e-9
    )


def test_masked_documents_cost_the_sum_of_their_squares(llama2_7b):
    whole = update_flops(llama2_7b, rows=2, length=4096, causal=False)
    packed = update_flops(llama2_7b, 2, 4096, document_lengths=[1024] * 4 + [4096], causal=False)
    assert whole - packed == PAIR * (4096**2 - 4 * 1024**2)
    assert document_flops(llama2_7b, [4096, 4096], causal=False) == whole


def test_attention_is_counted_by_its_heads_where_they_are_wider_than_the_model(llama2_7b):
    wide = replace(llama2_7b, head_dim=256)
    attention = flops_per_token(wide, 4096, causal=False) - 6 * wide.parameters
    assert attention == 2 * PAIR * 4096


def test_utilization_is_a_share_of_all_devices():
    assert model_flops_utilization(3.12e15, 10, 312e12, devices=2) == pytest.approx(0.5)
