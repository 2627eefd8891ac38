"""The printed plan says what a run will take, and nothing that is not known."""

from longspan.config.load import load
from longspan.recipe.derive import derive
from longspan.recipe.describe import describe
from longspan.recipe.load import load_recipe
from longspan.recipe.repeats import SourceFacts
from longspan.recipe.sft import SftRecipe
from tests.recipe.test_derive import H100, RECIPES, facts_of, plan_of


def source(name: str, tokens: int | None, *, exact: bool = True) -> SourceFacts:
    return SourceFacts(name, 1, 2**20, 10, tokens, exact)


def printed(sources: list[SourceFacts], *overrides: str) -> dict[str, str]:
    """The plan's lines by their first word or words."""
    name = "llama2-7b-32k"
    overrides = (
        "training.tokens=1000000",
        "training.tokens_per_update=32768",
        "optimizer.warmup_updates=null",
        *overrides,
    )
    recipe = load_recipe(RECIPES / f"{name}.yaml", overrides)
    text = describe(recipe, facts_of(name), plan_of(name, *overrides), H100, sources)
    return {line.split("  ")[0]: line for line in text.splitlines()}


def test_token_shards_hold_the_sources_whole() -> None:
    line = printed([source("long", 2**20), source("short", 2**20)])["token shards"]
    assert " 8.0 MiB " in line
    assert line.endswith("4 bytes a token before compression, all sources whole")


def test_an_estimated_source_makes_the_shards_an_estimate() -> None:
    lines = printed([source("long", 2**20), source("short", 2**20, exact=False)])
    assert "~8.0 MiB" in lines["token shards"]


def test_an_unknown_source_makes_the_shards_unknown() -> None:
    lines = printed([source("long", 2**20), source("short", None, exact=False)])
    assert lines["token shards"].split()[2] == "unknown"


def test_what_is_asked_of_a_source_is_what_the_order_will_take() -> None:
    weights = ("corpora.long.weight=0.99986", "corpora.short.weight=0.00014")
    lines = printed([source("long", 10**6), source("short", 100)], *weights)
    asked = 31 * 32_768 / 10_000
    assert lines["short"].split()[1] == "0.01%"
    assert lines["short"].split()[-3:] == [f"{asked:,.0f}", f"{asked / 100:.2f}", "x"]
    assert lines["long"].split()[1] == "99.99%"


def test_attention_is_shown_with_its_reason() -> None:
    lines = printed([source("long", 1), source("short", 1)])
    assert "auto" in lines["training.attention"]
    assert "else SDPA" in lines["training.attention"]


def sft_plan(*overrides: str) -> tuple[dict[str, str], SftRecipe]:
    path = RECIPES / "sft" / "table9-mix-pretrain.yaml"
    recipe = load(SftRecipe, path, overrides)
    plan = derive(recipe, facts_of("llama2-7b-32k"), H100)
    sources = [source("short", 10_000), source("pretrain", 10**6)]
    text = describe(recipe, facts_of("llama2-7b-32k"), plan, H100, sources)
    return {line.split("  ")[0]: line for line in text.splitlines()}, recipe


def test_epochs_before_the_ingest_are_unknown_and_no_number_is_made_up() -> None:
    lines, _ = sft_plan("training.tokens_per_update=null")
    for key in (
        "updates",
        "training.tokens",
        "training.tokens_per_update",
        "training.micro_batch",
        "optimizer.warmup_updates",
        "training.checkpoint_every",
        "heldout.every",
        "time",
    ):
        assert lines[key].split()[len(key.split())] == "unknown", lines[key]
    assert "ingested and packed" in lines["training.tokens"]
    assert lines["32,768"].split() == ["32,768", *["unknown"] * 4]
    # What the given weight leaves is the other's; how many tokens that is nobody knows.
    assert lines["short"].split()[1] == "80.00%"
    assert lines["short"].split()[-2:] == ["unknown", "unknown"]
    assert "operations" not in lines
    assert not any("1,000 updates" in line or "padding" in line for line in lines.values())


def test_what_the_recipe_itself_says_is_known() -> None:
    lines, _ = sft_plan("training.checkpoint_every=7", "optimizer.warmup_updates=1500")
    assert lines["training.tokens_per_update"].split()[1] == "1,048,576"
    assert lines["training.checkpoint_every"].split()[1] == "7"
    assert lines["optimizer.warmup_updates"].split()[1] == "1500"


def test_weights_of_several_sources_without_one_are_unknown() -> None:
    _, recipe = sft_plan("corpora.pretrain.weight=null", "corpora.pretrain.format=chat")
    assert recipe.known_weights == (None, None)


def test_epochs_are_known_once_the_examples_are() -> None:
    _, recipe = sft_plan("training.tokens_per_update=null")
    settled = recipe.settle([1000, 1000])
    plan = derive(settled, facts_of("llama2-7b-32k"), H100)
    assert not plan.unknown
    assert plan.tokens == 2 * 1250 * 32_768
