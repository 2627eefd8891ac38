"""What a recipe leaves out is derived as the papers say, each value with its reason."""

from dataclasses import replace
from pathlib import Path

import pytest

from longspan.config.overrides import apply_overrides
from longspan.errors import UserError
from longspan.model.facts import ModelFacts
from longspan.plan.device import Device
from longspan.recipe.derive import RunPlan, derive
from longspan.recipe.load import load_recipe, parse_recipe
from longspan.recipe.rope_bases import rope_base_for

RECIPES = Path(__file__).parents[2] / "jobs" / "recipes"
H100 = Device("cuda", "NVIDIA H100 80GB HBM3", 80 * 2**30, bf16=True)
CPU = Device("cpu", "CPU", 16 * 2**30, bf16=False)


def facts_of(name: str) -> ModelFacts:
    stated = load_recipe(RECIPES / f"{name}.yaml").architecture
    assert stated is not None
    rope = (("rope_theta", stated.rope_base), ("rope_type", "default"))
    return ModelFacts(**stated.model_dump(), tied=False, model_type="llama", rope=rope)


def plan_of(name: str, *overrides: str, device: Device = H100) -> RunPlan:
    recipe = load_recipe(RECIPES / f"{name}.yaml", overrides)
    return derive(recipe, facts_of(name), device)


@pytest.mark.parametrize(
    ("name", "length", "rows", "rate"),
    [
        ("llama2-7b-32k", 32_768, 128, 2e-5),
        ("llama2-13b-32k", 32_768, 128, 2e-5),
        ("llama2-34b-16k", 16_384, 256, 1e-5),
        ("llama2-70b-16k", 16_384, 256, 1e-5),
    ],
)
def test_the_papers_settings_come_out_of_the_paper_s_recipes(
    name: str, length: int, rows: int, rate: float
) -> None:
    plan = plan_of(name)
    (stage,) = plan.stages
    assert (stage.length, stage.rows_per_update, plan.learning_rate) == (length, rows, rate)
    assert (plan.positions.encoding, plan.positions.base) == ("abf", 500_000)
    assert plan.warmup_updates == 2000
    assert 400e9 <= plan.tokens < 400e9 + 2**22


@pytest.mark.parametrize("name", ["llama2-7b-32k", "llama2-70b-16k", "llama3-8b-64k"])
def test_the_derived_values_are_the_recipes_own_where_those_are_left_out(name: str) -> None:
    plan = plan_of(name, "positions.base=null", "optimizer.learning_rate=null")
    assert plan.positions.base == plan_of(name).positions.base
    if name.startswith("llama2"):
        assert plan.learning_rate == plan_of(name).learning_rate


def test_a_length_schedule_keeps_tokens_per_update() -> None:
    plan = plan_of("llama2-7b-32k", "lengths=[{length: 4096, until: 0.4}, {length: 32768}]")
    assert [stage.length * stage.rows_per_update for stage in plan.stages] == [2**22] * 2
    assert plan.stages[0].updates / plan.updates == pytest.approx(0.4, abs=1e-4)


def test_rope_bases_rise_with_the_window_through_the_published_ones() -> None:
    bases = [
        rope_base_for(window)[0]
        for window in (4096, 32_768, 49_152, 65_536, 131_072, 524_288, 2**20)
    ]
    assert bases == sorted(bases)
    assert bases[1] == 500_000
    assert bases[3] == 8e6
    assert bases[5] == 1.28e8


def test_abf_never_lowers_a_base() -> None:
    facts = facts_of("llama3-8b-512k")
    recipe = load_recipe(
        RECIPES / "llama3-8b-512k.yaml", ["positions.base=null", "target_context=65536"]
    )
    assert derive(recipe, facts, H100).positions.base == facts.rope_base


def test_a_processor_without_bf16_units_trains_in_fp32() -> None:
    assert plan_of("llama2-7b-32k", device=CPU).precision == "fp32"
    assert plan_of("llama2-7b-32k").precision == "bf16"


def test_stage_1_is_not_used_with_bf16() -> None:
    assert plan_of("llama2-7b-32k", "workers=512").zero_stage == 2
    fp32 = plan_of("llama2-7b-32k", "training.precision=fp32", "training.zero_stage=1")
    assert fp32.zero_stage == 1
    said = r"training\.zero_stage: at stage 1 .* bf16 gradients in fp32; set training\.zero_stage=2"
    with pytest.raises(UserError, match=said):
        plan_of("llama2-7b-32k", "training.zero_stage=1")


def test_gradients_are_summed_in_fp32_unless_the_recipe_says_otherwise() -> None:
    bf16 = "training.communication_data_type=bf16"
    assert plan_of("llama2-7b-32k").communication_data_type == "fp32"
    assert plan_of("llama2-7b-32k", bf16).communication_data_type == "bf16"
    with pytest.raises(UserError, match=r"training\.communication_data_type: bf16 would round"):
        plan_of("llama2-7b-32k", "training.precision=fp32", bf16)


def test_rows_shorter_than_the_window_are_pointed_out() -> None:
    assert any("never trained" in note for note in plan_of("llama2-7b-32k", "lengths=4096").notes)
    assert not plan_of("llama2-7b-32k").notes


def test_every_derived_value_has_a_reason() -> None:
    plan = plan_of("llama2-7b-32k")
    assert len(plan.reasons) >= 12
    assert all(plan.reasons.values())


def test_xpos_is_refused_in_words() -> None:
    with pytest.raises(UserError, match=r"positions\.encoding: xpos_abf cannot be trained"):
        plan_of("llama2-7b-32k", "positions.encoding=xpos_abf")


def test_a_micro_batch_fits_the_rows_of_a_worker() -> None:
    plan = plan_of("llama2-7b-32k", "workers={min: 128, max: 128}", "training.micro_batch=4")
    assert plan.micro_batch == {32_768: 1}


def test_a_window_below_the_model_s_own_is_refused() -> None:
    smaller = ("target_context=2048", "positions.base=null")
    said = r"target_context: 2,048 is below the model's own window of 4,096; give at least 4,096"
    for encoding in ("abf", "pi", "yarn"):
        with pytest.raises(UserError, match=said):
            plan_of("llama2-7b-32k", *smaller, f"positions.encoding={encoding}")
    assert plan_of("llama2-7b-32k", *smaller, "positions.encoding=none").window == 2048
    assert plan_of("llama2-7b-32k", "target_context=4096").window == 4096


def test_a_warm_up_fits_into_the_run() -> None:
    run = ("training.tokens_per_update=32768", "training.tokens=65536")
    assert plan_of("llama2-7b-32k", *run, "optimizer.warmup_updates=2").warmup_updates == 2
    said = r"optimizer\.warmup_updates: 3 updates of warm-up do not fit into a run of 2; give at most 2"
    with pytest.raises(UserError, match=said):
        plan_of("llama2-7b-32k", *run, "optimizer.warmup_updates=3")


def test_a_stage_of_no_update_is_pointed_out() -> None:
    plan = plan_of(
        "llama2-7b-32k",
        "lengths=[{length: 4096, until: 0.01}, {length: 32768}]",
        f"training.tokens={12 * 2**22}",
        "optimizer.warmup_updates=null",
    )
    assert [stage.length for stage in plan.stages] == [32_768]
    assert plan.notes == (
        "lengths: the stage of 4,096 tokens is left out: from 0 to 0.01 of 12 updates rounds to no update",
    )


def test_surplus_workers_are_pointed_out() -> None:
    def noted(*overrides: str) -> list[str]:
        notes = plan_of("llama2-7b-32k", *overrides).notes
        return [note for note in notes if "nothing but padding" in note]

    assert not noted("workers={min: 128, max: 128}")
    (note,) = noted("workers={min: 130, max: 130}")
    assert "128 rows of 32,768 tokens, so 2 of the 130 workers" in note
    assert "use at most 128" in note
    assert not noted("workers={min: 256, max: 256, sequence_parallel: 2}")
    (note,) = noted("workers={min: 260, max: 260, sequence_parallel: 2}")
    assert "each shared by 2, so 4 of the 260 workers" in note
    (note,) = noted("workers=2", "training.tokens_per_update=32768")
    assert "an update has 1 row of" in note


def test_attention_that_stays_limited_is_pointed_out() -> None:
    recipe, facts = load_recipe(RECIPES / "llama2-7b-32k.yaml"), facts_of("llama2-7b-32k")
    (note,) = derive(recipe, replace(facts, sliding_window=4096), H100).notes
    assert "this model's attention is limited to 4,096 tokens in at least one layer" in note
    assert not derive(recipe, replace(facts, sliding_window=32_768), H100).notes


def test_the_choice_of_attention_has_a_reason() -> None:
    assert "else SDPA" in plan_of("llama2-7b-32k").reasons["training.attention"]
    chosen = plan_of("llama2-7b-32k", "training.attention=sdpa")
    assert (chosen.attention, chosen.reasons["training.attention"]) == ("sdpa", "set in the recipe")


def test_parse_and_load_agree() -> None:
    recipe = load_recipe(RECIPES / "quickstart.yaml")
    assert parse_recipe(apply_overrides(recipe.model_dump(mode="json"), [])) == recipe
