"""The printed plan says what a run will take, and nothing that is not known."""

from longspan.recipe.describe import SourceFacts, describe
from longspan.recipe.load import load_recipe
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
