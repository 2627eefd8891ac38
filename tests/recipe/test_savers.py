"""Memory savers are those that the recipe sets, or the cheapest set with which the estimate fits."""

from dataclasses import replace

import pytest

from longspan.errors import UserError
from longspan.plan.savers import Savers
from longspan.recipe.derive import RunPlan, derive
from longspan.recipe.describe import describe
from longspan.recipe.device import Device
from longspan.recipe.load import load_recipe
from longspan.recipe.savers import NAMES
from tests.recipe.test_derive import CPU, H100, RECIPES, facts_of, plan_of
from tests.recipe.test_describe import source

NAME = "llama3-8b-64k"


def plan(gibibytes: int, *overrides: str) -> RunPlan:
    device = Device("cuda", "a card", gibibytes * 2**30, bf16=True)
    settings = ("training.activation_checkpointing=true", "workers=8", *overrides)
    return plan_of(NAME, *settings, device=device)


def test_no_saver_is_used_where_the_estimate_fits() -> None:
    found = plan_of(NAME)
    assert found.savers == Savers()
    assert found.reasons["training.tiled_mlp"] == "not needed: the estimate fits without it"


def test_the_cheapest_set_that_fits_is_used() -> None:
    assert plan(8).savers == Savers(), "no set suffices"
    needed = {gibibytes: plan(gibibytes).savers for gibibytes in range(18, 80, 2)}
    sets = list(dict.fromkeys(needed[gibibytes].used for gibibytes in sorted(needed)))[::-1]
    assert sets[:2] == [(), ("tiled_mlp",)]
    assert len(sets[-1]) == 4
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
    assert found.savers == Savers(tiled_mlp=True, offload_optimizer=True)
    assert found.mlp_tile == 4096
    assert found.reasons["training.tiled_mlp"] == "set in the recipe"
    assert plan_of(NAME, "training.mlp_tile=512").mlp_tile == 512
    tiled = next(p for p in map(plan, range(80, 8, -2)) if p.savers.used == ("tiled_mlp",))
    assert tiled.savers.tiled_mlp
    refused = [plan(gibibytes, "training.tiled_mlp=false") for gibibytes in range(8, 80, 4)]
    assert not any(each.savers.tiled_mlp for each in refused)


def test_offloaded_activations_are_checkpointed() -> None:
    found = plan_of(NAME, "training.offload_activations=true")
    assert found.activation_checkpointing
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
    (longest,) = [line for line in text.splitlines() if line.startswith("longest row")]
    numbers = [int(word.replace(",", "")) for word in longest.split() if "," in word.rstrip(",")]
    planned, most = numbers
    assert 65_536 < planned < most
