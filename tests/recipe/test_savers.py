"""Memory savers are those that the recipe sets, or the cheapest set with which the estimate fits."""

from dataclasses import replace

import pytest

from longspan.errors import UserError
from longspan.plan.device import Device
from longspan.plan.savers import Savers
from longspan.recipe.derive import RunPlan, derive
from longspan.recipe.describe import describe
from longspan.recipe.load import load_recipe
from longspan.recipe.savers import NAMES
from tests.recipe.test_derive import CPU, H100, RECIPES, facts_of, plan_of
from tests.recipe.test_describe import source

NAME = "llama3-8b-64k"


def plan(gibibytes: int, *overrides: str) -> RunPlan:
    device = Device("cuda", "a card", gibibytes * 2**30, bf16=True)
    settings = ("training.activation_checkpointing=true", "workers=8", *overrides)
    return plan_of(NAME, *settings, device=device)


def shared(gibibytes: int, *overrides: str, node_memory: int | None = None) -> RunPlan:
    """Rows of 512k tokens, shared by the 8 workers of a node."""
    device = Device(
        "cuda", "a card", gibibytes * 2**30, bf16=True, per_node=8, node_memory=node_memory
    )
    return plan_of(
        "llama3-8b-512k", "workers={min: 8, max: 8}", *SHARING, *overrides, device=device
    )


SHARING = ("workers.sequence_parallel=8",)
RECOMPUTED = Savers(activation_checkpointing=True)


def test_no_saver_is_used_where_the_estimate_fits() -> None:
    assert plan_of(NAME, device=replace(H100, memory=2**40)).savers == Savers()
    found = plan_of(NAME)
    assert found.savers == RECOMPUTED
    assert found.activation_checkpointing
    reason = found.reasons["training.activation_checkpointing"]
    assert reason.startswith("the estimate does not fit without it; it frees ")
    assert found.reasons["training.tiled_mlp"] == "not needed: the estimate fits without it"


def test_the_cheapest_set_that_fits_is_used() -> None:
    assert plan(8).savers == RECOMPUTED, "no set suffices"
    needed = {gibibytes: plan(gibibytes).savers for gibibytes in range(16, 80, 2)}
    sets = list(dict.fromkeys(needed[gibibytes].used for gibibytes in sorted(needed)))[::-1]
    assert sets[:2] == [RECOMPUTED.used, ("tiled_mlp", *RECOMPUTED.used)]
    assert "offload_parameters" in sets[-1]
    dearest_first = NAMES[::-1]
    costs = [[name in used for name in dearest_first] for used in sets]
    assert costs == sorted(costs)


def test_a_saver_has_a_reason_with_bytes() -> None:
    found = next(p for p in map(plan, range(80, 8, -2)) if p.savers.offload_activations)
    reason = found.reasons["training.offload_activations"]
    assert reason.startswith("the estimate does not fit without it; it frees ")
    assert reason.endswith(" GiB of host memory per worker")


def test_what_the_recipe_sets_is_kept() -> None:
    found = plan_of(NAME, "training.offload_optimizer=true", "training.tiled_mlp=true")
    assert found.savers == replace(RECOMPUTED, tiled_mlp=True, offload_optimizer=True)
    assert found.mlp_tile == 4096
    assert found.reasons["training.tiled_mlp"] == "set in the recipe"
    assert plan_of(NAME, "training.mlp_tile=512").mlp_tile == 512
    used = ("tiled_mlp", *RECOMPUTED.used)
    tiled = next(p for p in map(plan, range(80, 8, -2)) if p.savers.used == used)
    assert tiled.savers.tiled_mlp
    refused = [plan(gibibytes, "training.tiled_mlp=false") for gibibytes in range(8, 80, 4)]
    assert not any(each.savers.tiled_mlp for each in refused)


def test_heads_take_turns_where_that_is_missing() -> None:
    sizes = range(30, 8, -3)
    size, found = next((n, p) for n in sizes if (p := shared(n)).savers.headwise_attention)
    reason = found.reasons["training.headwise_attention"]
    assert reason.startswith("the estimate does not fit without it; it frees ")
    assert shared(80, "training.headwise_attention=true").savers.headwise_attention
    refused = shared(size, "training.headwise_attention=false")
    assert not refused.savers.headwise_attention


def test_all_heads_at_once_where_attention_is_no_function() -> None:
    eager = ("training.attention=eager", "training.headwise_attention=true")
    with pytest.raises(UserError, match=r"training\.headwise_attention: training\.attention eager"):
        plan_of(NAME, *eager)
    recipe = load_recipe(RECIPES / f"{NAME}.yaml", ["training.headwise_attention=true"])
    with pytest.raises(UserError, match="llama models do not compute attention by a function"):
        derive(recipe, replace(facts_of(NAME), shares_rows=False), H100)


def test_what_a_node_s_workers_offload_fits_into_its_memory() -> None:
    key = "training.offload_activations=true"
    assert shared(80, key, node_memory=300 * 2**30).savers.offload_activations
    message = (
        r"^training\.offload_activations: the 8 workers of a node need 128\.0 GiB of host memory"
    )
    with pytest.raises(UserError, match=message):
        shared(80, key, node_memory=140 * 2**30)
    small = next(size for size in range(80, 8, -1) if shared(size).savers.offload_activations)
    chosen = shared(small, node_memory=140 * 2**30)
    assert not chosen.savers.offload_activations


def test_offloaded_activations_are_checkpointed() -> None:
    found = plan_of(NAME, "training.offload_activations=true", device=replace(H100, memory=2**40))
    assert found.activation_checkpointing
    reason = found.reasons["training.activation_checkpointing"]
    assert reason == "for training.offload_activations"
    with pytest.raises(UserError, match=r"training\.offload_activations: only the inputs of check"):
        plan_of(
            NAME,
            "training.offload_activations=true",
            "training.activation_checkpointing=false",
        )


def test_activations_of_a_cpu_are_not_offloaded() -> None:
    with pytest.raises(UserError, match=r"training\.offload_activations: the workers are CPUs"):
        plan_of(NAME, "training.offload_activations=true", device=CPU)
    found = plan_of(NAME, "training.offload_optimizer=true", device=CPU)
    assert "training.offload_optimizer: the workers are CPUs, so it frees no memory" in found.notes


def test_parameters_are_offloaded_at_stage_3() -> None:
    assert plan_of(NAME, "training.offload_parameters=true").zero_stage == 3
    with pytest.raises(UserError, match=r"training\.offload_parameters: ZeRO stage 2"):
        plan_of(NAME, "training.offload_parameters=true", "training.zero_stage=2")


def test_an_mlp_that_cannot_be_tiled_is_refused_or_left_untiled() -> None:
    facts = replace(facts_of(NAME), untiled_mlp="FooMLP has weights in Bar")
    with pytest.raises(UserError, match=r"^training\.tiled_mlp: FooMLP has weights in Bar; set it"):
        derive(load_recipe(RECIPES / f"{NAME}.yaml", ["training.tiled_mlp=true"]), facts, H100)
    for gibibytes in range(8, 80, 4):
        device = replace(H100, memory=gibibytes * 2**30)
        found = derive(load_recipe(RECIPES / f"{NAME}.yaml"), facts, device)
        assert not found.savers.tiled_mlp


def test_the_plan_prints_savers_and_bytes_on_device_and_host() -> None:
    overrides = ("training.offload_optimizer=true", "workers=8")
    recipe = load_recipe(RECIPES / f"{NAME}.yaml", overrides)
    sources = [source(corpus.name, None) for corpus in recipe.corpora]
    text = describe(recipe, facts_of(NAME), plan_of(NAME, *overrides), H100, sources)
    lines = {line.split("  ")[0]: line.split() for line in text.splitlines()}
    assert lines["training.offload_optimizer"][1] == "True"
    assert lines["optimizer"][1:5] == ["0", "B", "11.2", "GiB"]
    assert lines["peak"][3:5] == ["15.0", "GiB"]
    assert lines["node"][1:4] == ["0", "B", "15.0"]
    on_nodes = describe(
        recipe, facts_of(NAME), plan_of(NAME, *overrides), replace(H100, per_node=8), sources
    )
    assert " of host memory per node)" in on_nodes
    assert "119.7 GiB  8 workers together; host memory of a node: unknown" in on_nodes
    (longest,) = [line for line in text.splitlines() if line.startswith("longest row")]
    numbers = [int(word.replace(",", "")) for word in longest.split() if "," in word.rstrip(",")]
    planned, most = numbers
    assert 65_536 < planned < most
