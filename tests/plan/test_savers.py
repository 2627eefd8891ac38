"""Bytes that each memory saver frees on the device and takes on the host."""

from dataclasses import replace

import pytest

from longspan.plan.longest import longest_row
from longspan.plan.memory import WorkerMemory, Workload, worker_memory
from longspan.plan.savers import Savers, cheapest_first
from tests.model_facts import LLAMA3_8B

KIBI = 2**10
TOKENS = 131_072
CHECKPOINTED = Workload(TOKENS, 1, True, 1024)


def memory(savers: Savers, workload: Workload = CHECKPOINTED, workers: int = 8) -> WorkerMemory:
    return worker_memory(LLAMA3_8B, replace(workload, savers=savers), 3, workers, "bf16")


PLAIN = memory(Savers())


def test_nothing_is_on_the_host_without_savers() -> None:
    assert PLAIN.host.total == 0


def test_tiling_frees_the_mlp_of_all_tokens_but_one_tile() -> None:
    freed = PLAIN.activations - memory(Savers(tiled_mlp=True)).activations
    mlp = 112 * KIBI * (TOKENS - 4096)
    outputs, gradients = 8 * KIBI * TOKENS, 4 * 4 * 4096 * 14_336
    assert freed == mlp - outputs - gradients


def test_tiles_also_replace_what_layers_keep_without_checkpointing() -> None:
    workload = replace(CHECKPOINTED, activation_checkpointing=False)
    freed = (
        memory(Savers(), workload).activations
        - memory(Savers(tiled_mlp=True), workload).activations
    )
    assert freed == pytest.approx(32 * 112 * KIBI * TOKENS, rel=0.01)


def test_a_row_of_one_tile_is_not_tiled() -> None:
    workload = replace(CHECKPOINTED, length=4096)
    assert memory(Savers(tiled_mlp=True), workload) == memory(Savers(), workload)
    smaller = replace(workload, mlp_tile=512)
    assert (
        memory(Savers(tiled_mlp=True), smaller).activations != memory(Savers(), smaller).activations
    )


def test_offloaded_activations_are_the_layers_inputs() -> None:
    found = memory(Savers(offload_activations=True))
    assert PLAIN.activations - found.activations == (256 - 16) * KIBI * TOKENS
    assert found.host.activations == found.host.total == 256 * KIBI * TOKENS


def test_pinned_memory_is_rounded_up_to_a_power_of_two() -> None:
    odd = replace(CHECKPOINTED, length=TOKENS + 1)
    assert memory(Savers(offload_activations=True), odd).host.total == 512 * KIBI * TOKENS


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
    assert len(set(names)) == 16
    assert names[:5] == [
        (),
        ("tiled_mlp",),
        ("offload_activations",),
        ("tiled_mlp", "offload_activations"),
        ("offload_optimizer",),
    ]
    assert len(names[-1]) == 4


def test_workers_that_share_a_row_send_and_receive_copies_of_heads() -> None:
    def per_token(degree: int) -> float:
        workload = replace(CHECKPOINTED, sequence_parallel=degree)
        return memory(Savers(), workload, 32).exchange / workload.tokens / KIBI

    assert [per_token(degree) for degree in (1, 2, 8, 16, 32)] == [0, 40, 40, 48, 64]


ALST = [
    (Savers(offload_optimizer=True), 1.1),
    (Savers(offload_optimizer=True, tiled_mlp=True), 1.2),
    (Savers(offload_optimizer=True, offload_activations=True), 2.4),
    (Savers(offload_optimizer=True, offload_activations=True, tiled_mlp=True), 3.7),
]


@pytest.mark.parametrize(("savers", "published"), ALST)
def test_longest_rows_are_within_a_quarter_of_alst_s(savers: Savers, published: float) -> None:
    """ALST's ablation (arXiv 2506.13996, table 1): Llama 3 8B on 8 H100s of 80 GB, in millions of tokens."""
    workload = Workload(0, 1, True, 2048, sequence_parallel=8, savers=savers)
    found = longest_row(LLAMA3_8B, workload, 3, 8, "bf16", 80 * 2**30) / 1e6
    assert 0.75 * published < found < 1.1 * published


def test_nothing_fits_where_the_states_do_not() -> None:
    assert longest_row(LLAMA3_8B, CHECKPOINTED, 3, 8, "bf16", 8 * 2**30) == 0
