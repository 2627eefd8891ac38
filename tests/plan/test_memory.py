from dataclasses import replace

import pytest

from longspan.plan.memory import (
    ZERO_STAGES,
    Workload,
    activation_bytes,
    choose_zero_stage,
    head_gradient_bytes,
    logits_bytes,
    reduction_bytes,
    state_bytes,
    worker_memory,
)
from longspan.plan.savers import Savers

GIBI = 2**30
RECOMPUTED = Savers(activation_checkpointing=True)
# The example of the ZeRO paper (arXiv 1910.02054, figure 1): 7.5 billion parameters, 64 devices. The paper counts
# 2 bytes for a gradient, here it has 4.
PARAMETERS, DEVICES = 7_500_000_000, 64


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.88)])
def test_states_in_mixed_precision_are_the_zero_papers_with_fp32_gradients(stage, gigabytes):
    states = state_bytes(PARAMETERS, stage, DEVICES, "bf16")
    assert (states.total - states.gradients / 2) / 1e9 == pytest.approx(gigabytes, rel=5e-3)
    assert states.gradients == 4 * PARAMETERS / (DEVICES if stage >= 2 else 1)


@pytest.mark.parametrize(("stage", "per_parameter"), [(0, 16), (1, 10), (2, 7), (3, 4)])
def test_states_in_fp32(stage, per_parameter):
    assert state_bytes(1000, stage, 4, "fp32").total == 1000 * per_parameter


@pytest.mark.parametrize(("precision", "stage"), [("bf16", 1), ("fp32", 3)])
def test_every_worker_has_a_share_of_what_does_not_divide(precision, stage):
    shares = state_bytes(10, stage, 3, precision)
    assert 3 * shares.optimizer >= 10 * (12 if precision == "bf16" else 8)


def test_activation_estimate_is_what_autograd_keeps(llama2_7b):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    facts = replace(
        llama2_7b, layers=2, hidden=64, intermediate=160, heads=4, kv_heads=2, head_dim=16
    )
    config = transformers.LlamaConfig(
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=128,
    )
    model = transformers.LlamaForCausalLM(config)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    positions = torch.arange(96)[None]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.model(input_ids=positions % 128, position_ids=positions, use_cache=False)
    measured = sum(size for size, _ in kept.values())
    assert activation_bytes(facts, 96, "fp32") == pytest.approx(measured, rel=0.03)


def test_checkpointing_keeps_each_layers_input(llama2_7b):
    tokens = 4096
    memory = worker_memory(llama2_7b, Workload(tokens, savers=RECOMPUTED), 2, 8, "bf16")
    assert memory.activations == tokens * 32 * 4096 * 2
    one_layer = activation_bytes(llama2_7b, tokens, "bf16") / 32
    assert one_layer < memory.layer < 2 * one_layer


def test_a_chunk_bounds_the_logits(llama2_7b):
    # 32,768 tokens at once: 12.6 GB of a 32,000-word vocabulary, which is what the chunk avoids.
    assert logits_bytes(llama2_7b, 32_768, None) == 12 * 32_000 * 32_768
    assert logits_bytes(llama2_7b, 32_768, 1024) == 12 * 32_000 * 1024
    assert logits_bytes(llama2_7b, 100, 1024) == 12 * 32_000 * 100


def test_chunks_add_the_heads_gradients_in_fp32(llama2_7b):
    head = 32_000 * 4096
    assert head_gradient_bytes(llama2_7b, 32_768, 1024, "bf16") == 6 * head
    assert head_gradient_bytes(llama2_7b, 1024, 1024, "bf16") == 0
    chunked = worker_memory(llama2_7b, Workload(32_768, loss_chunk=1024), 2, 8, "bf16")
    whole_norm = 32_768 * 4096 * (4 + 2 + 2 + 2)
    assert chunked.loss == 12 * 32_000 * 1024 + 6 * head + whole_norm


def test_sequence_parallelism_divides_the_row(llama2_7b):
    one = worker_memory(llama2_7b, Workload(32_768), 3, 8, "bf16")
    eight = worker_memory(llama2_7b, Workload(32_768, sequence_parallel=8), 3, 8, "bf16")
    one_output = 32_768 * 4096 * 2
    assert eight.activations * 8 == one.activations + 32 * one_output


def test_the_optimizers_step_and_the_activations_take_turns(llama2_7b):
    memory = worker_memory(llama2_7b, Workload(16, loss_chunk=16), 3, 1, "bf16")
    assert memory.update == 4 * 10**9 > memory.activations + max(memory.layer, memory.loss)
    assert memory.total == memory.states.total + memory.buffers + memory.update


def test_stage_2_steps_with_the_accumulated_gradients_themselves(llama2_7b):
    memory = worker_memory(llama2_7b, Workload(16, loss_chunk=16), 2, 8, "bf16")
    assert memory.update == 0
    assert memory.states.gradients == -(-4 * llama2_7b.parameters // 8)


@pytest.mark.parametrize(
    ("stage", "precision", "communication", "per_element"),
    [
        (1, "fp32", "fp32", 4),
        (2, "fp32", "fp32", 4),
        (2, "bf16", "fp32", 8),
        (2, "bf16", "bf16", 4),
        (3, "bf16", "fp32", 8),
        (3, "bf16", "bf16", 4),
    ],
)
def test_buckets_are_of_the_communication_s_type(stage, precision, communication, per_element):
    assert reduction_bytes(1000, stage, precision, communication) == 1000 * per_element
    large = reduction_bytes(10**12, stage, precision, communication)
    assert large == 5 * 10**8 * per_element


CHECKPOINTED = Workload(4096, loss_chunk=1024, savers=RECOMPUTED)


@pytest.mark.parametrize(
    ("precision", "gigabytes", "stage"),
    [("bf16", 160, 2), ("bf16", 40, 2), ("bf16", 26, 3), ("fp32", 160, 1), ("fp32", 50, 2)],
)
def test_the_smallest_stage_that_fits_is_chosen(llama2_7b, precision, gigabytes, stage):
    choice = choose_zero_stage(llama2_7b, CHECKPOINTED, 8, precision, gigabytes * GIBI)
    assert choice.fits
    assert choice.stage == stage
    assert choice.memory.total <= 0.9 * gigabytes * GIBI
    assert f"{gigabytes}.0 GiB" in choice.reason
    assert ("would take" in choice.reason) is (stage > ZERO_STAGES[precision][0])


def test_dividing_among_one_worker_helps_nobody(llama2_7b):
    choice = choose_zero_stage(llama2_7b, CHECKPOINTED, 1, "bf16", 40 * GIBI)
    assert not choice.fits
    assert "more workers" in choice.reason


@pytest.mark.parametrize(
    ("workload", "help_"),
    [
        (Workload(32_768), "activation checkpointing"),
        (Workload(65_536, 4, savers=RECOMPUTED), "a loss chunk"),
        (Workload(65_536, 8, 1024, savers=RECOMPUTED), "a smaller micro-batch"),
        (Workload(1_048_576, 1, 1024, savers=RECOMPUTED), "sequence parallelism"),
    ],
)
def test_where_nothing_fits_the_reason_says_what_would_help(llama2_7b, workload, help_):
    choice = choose_zero_stage(llama2_7b, workload, 64, "bf16", 40 * GIBI)
    assert not choice.fits
    assert help_ in choice.reason
