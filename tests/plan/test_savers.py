"""Bytes that each memory saver frees on the device and takes on the host."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from longspan.plan.longest import longest_row
from longspan.plan.memory import USABLE, WorkerMemory, Workload, worker_memory
from longspan.plan.savers import Savers, cheapest_first
from tests.model_facts import LLAMA3_8B

KIBI = 2**10
TOKENS = 131_072
RECOMPUTED = Savers(activation_checkpointing=True)
CHECKPOINTED = Workload(TOKENS, 1, 1024, savers=RECOMPUTED)
HIDDEN = 8 * KIBI
"""Bytes of a token's hidden state."""


def memory(savers: Savers, workload: Workload = CHECKPOINTED, workers: int = 8) -> WorkerMemory:
    return worker_memory(LLAMA3_8B, replace(workload, savers=savers), 3, workers, "bf16")


PLAIN = memory(RECOMPUTED)


def test_nothing_is_on_the_host_without_savers() -> None:
    assert PLAIN.host.total == 0


def test_a_tiled_layer_is_fullest_in_attention() -> None:
    found = memory(replace(RECOMPUTED, tiled_mlp=True))
    assert found.activations == PLAIN.activations
    # Of the size of hidden states: two norms' inputs and outputs, queries, keys, values and output, two gradients;
    # the kernel's sums in fp32 and gradients of keys and values for all heads, and the gradients.
    hidden = 4 + 2.5 + 2 + 2 + 2 + 1.5
    row_sums, cosines = 4 * 32, 2 * 128 * 2
    assert found.layer == TOKENS * (hidden * HIDDEN + row_sums + cosines)
    assert PLAIN.layer > 2 * found.layer


def test_tiles_also_replace_what_layers_keep_without_checkpointing() -> None:
    freed = memory(Savers()).activations - memory(Savers(tiled_mlp=True)).activations
    norms, mlp = 2 * 2 * HIDDEN, 4 * 14_336 * 2
    assert freed == 32 * TOKENS * (norms + mlp)


def test_a_row_of_one_tile_is_not_tiled() -> None:
    workload, savers = replace(CHECKPOINTED, length=4096), replace(RECOMPUTED, tiled_mlp=True)
    assert memory(savers, workload) == memory(RECOMPUTED, workload)
    smaller = replace(workload, mlp_tile=512)
    assert memory(savers, smaller).layer != memory(RECOMPUTED, smaller).layer


@pytest.mark.parametrize(("degree", "is_smaller"), [(1, True), (8, True), (32, False)])
def test_heads_take_turns(degree: int, is_smaller: bool) -> None:
    tiled = replace(RECOMPUTED, tiled_mlp=True)
    workload = replace(CHECKPOINTED, length=2**22, sequence_parallel=degree)
    whole = memory(tiled, workload, 32)
    found = memory(replace(tiled, headwise_attention=True), workload, 32)
    one_head = workload.length * 128 * 2
    assert found.exchange == (0 if degree == 1 else 2 * (2 + 2) * one_head)
    assert (found.layer < 0.9 * whole.layer) is is_smaller


def test_offloaded_activations_are_the_layers_inputs() -> None:
    found = memory(replace(RECOMPUTED, offload_activations=True))
    assert PLAIN.activations - found.activations == (256 - 16) * KIBI * TOKENS
    assert found.host.activations == found.host.total == 256 * KIBI * TOKENS


def test_pinned_memory_is_rounded_up_to_a_power_of_two() -> None:
    odd = replace(CHECKPOINTED, length=TOKENS + 1)
    assert (
        memory(replace(RECOMPUTED, offload_activations=True), odd).host.total == 512 * KIBI * TOKENS
    )


def test_the_optimizer_steps_on_the_host() -> None:
    found, share = memory(Savers(offload_optimizer=True)), LLAMA3_8B.parameters // 8
    assert (found.states.optimizer, found.states.gradients, found.update) == (0, 0, 0)
    on_device = PLAIN.states.gradients
    assert (found.host.optimizer, found.host.gradients) == (12 * share, 4 * share + on_device)
    at_2 = replace(CHECKPOINTED, savers=Savers(offload_optimizer=True))
    assert worker_memory(LLAMA3_8B, at_2, 2, 8, "bf16").states.gradients == on_device


def test_parameters_are_gathered_on_the_device_all_the_same() -> None:
    found = memory(Savers(offload_parameters=True))
    assert (found.states.weights, found.host.weights) == (0, 2 * LLAMA3_8B.parameters // 8)
    assert found.buffers == PLAIN.buffers
    alone = memory(Savers(offload_parameters=True), workers=1)
    assert alone.buffers == PLAIN.buffers


def test_parameters_are_offloaded_at_stage_3_only() -> None:
    workload = replace(CHECKPOINTED, savers=Savers(offload_parameters=True))
    with pytest.raises(AssertionError, match="parameter offload at stage=2"):
        worker_memory(LLAMA3_8B, workload, 2, 8, "bf16")


def test_sets_of_savers_are_ordered_by_the_dearest_in_them() -> None:
    names = [savers.used for savers in cheapest_first()]
    assert len(set(names)) == len(names) == 48
    assert names[:5] == [
        (),
        ("headwise_attention",),
        ("tiled_mlp",),
        ("headwise_attention", "tiled_mlp"),
        ("activation_checkpointing",),
    ]
    assert len(names[-1]) == 6
    assert all(
        "activation_checkpointing" in used for used in names if "offload_activations" in used
    )


def test_workers_that_share_a_row_send_and_receive_copies_of_heads() -> None:
    def per_token(degree: int) -> float:
        workload = replace(CHECKPOINTED, sequence_parallel=degree)
        return memory(RECOMPUTED, workload, 32).exchange / workload.tokens / KIBI

    assert [per_token(degree) for degree in (1, 2, 8, 16, 32)] == [0, 40, 40, 48, 64]


ALST_SAVERS = replace(RECOMPUTED, offload_optimizer=True)
ALST = [
    (ALST_SAVERS, 1.1),
    (replace(ALST_SAVERS, tiled_mlp=True), 1.2),
    (replace(ALST_SAVERS, offload_activations=True), 2.4),
    (replace(ALST_SAVERS, offload_activations=True, tiled_mlp=True), 3.7),
]


def fits(gibibytes: int) -> Callable[[WorkerMemory], bool]:
    return lambda memory: memory.total <= USABLE * gibibytes * 2**30


def longest_on_8_h100s(savers: Savers) -> float:
    """Millions of tokens of Llama 3 8B on 8 devices of 80 GB."""
    workload = Workload(0, 1, 2048, sequence_parallel=8, savers=savers)
    return longest_row(LLAMA3_8B, workload, 3, 8, "bf16", fits(80)) / 1e6


@pytest.mark.parametrize(("savers", "published"), ALST)
def test_longest_rows_are_within_a_quarter_of_alst_s(savers: Savers, published: float) -> None:
    """ALST's ablation (arXiv 2506.13996, table 1): Llama 3 8B on 8 H100s of 80 GB, in millions of tokens."""
    assert 0.75 * published < longest_on_8_h100s(savers) < 1.1 * published


def test_five_million_tokens_fit_where_heads_take_turns() -> None:
    """UPipe's limit on the same machine (arXiv 2602.21196); without headwise chunks ALST's is 3.7 million."""
    assert longest_on_8_h100s(replace(ALST[-1][0], headwise_attention=True)) > 3.7
    assert 5 < longest_on_8_h100s(list(cheapest_first())[-1]) < 1.1 * 5


def test_nothing_fits_where_the_states_do_not() -> None:
    assert longest_row(LLAMA3_8B, CHECKPOINTED, 3, 8, "bf16", fits(8)) == 0
