"""How often each source would be read: noted, and refused where nobody can have meant it."""

from longspan.recipe.derive import derive
from longspan.recipe.load import load_recipe
from longspan.recipe.repeats import SourceFacts, absurd_repeats, repeat_notes
from tests.recipe.test_derive import H100, RECIPES, facts_of

OVERRIDES = ("training.tokens_per_update=null", "optimizer.warmup_updates=null", "workers=1")


def told(tokens: int | None, *found: int, exact: bool = True) -> tuple[list[str], str | None]:
    asked = "null" if tokens is None else str(tokens)
    recipe = load_recipe(
        RECIPES / "llama2-7b-32k.yaml", [*OVERRIDES, f"training.tokens={asked}", "lengths=1024"]
    )
    plan = derive(recipe, facts_of("llama2-7b-32k"), H100)
    sources = [
        SourceFacts(corpus.name, 1, 1, None, number, exact)
        for corpus, number in zip(recipe.corpora, found, strict=True)
    ]
    return repeat_notes(recipe, plan, sources), absurd_repeats(recipe, plan, sources)


def test_a_few_passes_are_no_matter() -> None:
    assert told(1_000_000, 500_000, 500_000) == ([], None)


def test_many_passes_are_noted_with_the_number_to_set() -> None:
    (note,), refused = told(1_024_000, 500_000, 10_000)
    assert refused is None, "somebody asked for it"
    assert "corpora.short (10,000 tokens) 51 times" in note
    assert "corpora.long" not in note
    assert "For 4 passes set training.tokens=80000, or add data" in note


def test_a_length_that_nobody_gave_is_refused_where_the_data_is_far_too_little() -> None:
    _, refused = told(None, 10**10, 23_775)
    assert refused is not None
    assert refused.startswith("training.tokens: unset, which means 4,194,304,000 tokens")
    assert "corpora.short (23,775 tokens) 88,208 times" in refused
    assert "set training.tokens=190200" in refused
    assert told(None, 10**9, 10**9) == ([], None)


def test_an_estimate_says_so() -> None:
    _, refused = told(None, 10**10, 23_775, exact=False)
    assert refused is not None
    assert "(about 23,775 tokens) about 88,208 times" in refused
