"""Recipes of supervised finetuning: how long an epoch is, and what everything weighs."""

from pathlib import Path
from typing import Any

import pytest

from longspan.config.load import load, parse
from longspan.config.overrides import apply_overrides
from longspan.errors import UserError
from longspan.recipe.sft import SftRecipe

RECIPES = sorted((Path(__file__).parents[2] / "jobs" / "recipes" / "sft").glob("*.yaml"))

GOOD: dict[str, Any] = {
    "name": "chat",
    "base_model": "runs/long/model",
    "target_context": 32768,
    "corpora": [
        {"name": "short", "path": "chat/short"},
        {"name": "long", "path": "instruct/x/examples", "pack": False, "prompt_loss": 1},
    ],
}


def recipe(*overrides: str) -> SftRecipe:
    return parse(SftRecipe, apply_overrides(GOOD, overrides))


def refused(*overrides: str) -> str:
    with pytest.raises(UserError) as error:
        recipe(*overrides)
    return str(error.value)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(path: Path) -> None:
    assert load(SftRecipe, path).name


def test_an_epoch_is_every_example_once() -> None:
    settled = recipe().settle([300, 100])
    assert settled.weights == (0.75, 0.25)
    assert settled.training.tokens == 2 * 400 * 32768
    assert settled.settled and not recipe().settled
    assert recipe("training.epochs=0.5").settle([300, 100]).training.tokens == 200 * 32768


def test_a_weight_is_a_share_beside_the_epochs() -> None:
    text = "{name: pretrain, path: corpora/books, format: text, weight: 0.2}"
    mixed = recipe(f"corpora=[{{name: short, path: x}}, {text}]", "training.epochs=1")
    settled = mixed.settle([400, 9999])
    assert settled.weights == (0.8, 0.2)
    assert settled.training.tokens == 500 * 16384, "400 rows are four fifths of it"


def test_rows_are_of_16k_where_all_is_packed() -> None:
    assert [stage.length for stage in recipe().length_stages] == [32768]
    assert [stage.length for stage in recipe("corpora.long.pack=true").length_stages] == [16384]
    short = recipe("corpora.long.pack=true", "target_context=4096")
    assert [stage.length for stage in short.length_stages] == [4096]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["packing.method=concatenate"],
            "corpora.short.format: chat needs packing.method best_fit",
        ),
        (["packing.document_mask=false"], "conversations are neither cut nor read across"),
        (["corpora.short.format=text", "corpora.short.prompt_loss=1"], "would be ignored"),
        (
            ["corpora.short.format=text", "corpora.short.text_field=body"],
            "text_field: 'body' would",
        ),
        (["corpora.short.text_field=body"], "would be ignored with format chat"),
        (["training.tokens=1048576", "training.epochs=2"], "give one of them"),
        (["corpora.short.weight=1"], "weights add up to 1, and must to less than 1"),
        (["corpora.short.weight=0.5", "corpora.long.weight=0.4"], "add up to 0.9, and must to 1"),
        (["corpora.short.weight=0.5", "corpora.long.weight=0.5"], "training.tokens: required"),
        (["lengths=[{length: 4096, until: 0.5}, {length: 8192}]"], "give one row length"),
        (["corpora.long.prompt_los=1"], "the nearest known key is corpora.long.prompt_loss"),
        (["training.epoch=1"], "the nearest known key is training.epochs"),
    ],
)
def test_what_does_not_fit_is_told(overrides: list[str], message: str) -> None:
    assert message in refused(*overrides)


def test_a_source_with_hardly_any_rows_needs_a_weight() -> None:
    with pytest.raises(UserError, match=r"corpora\.long: its examples are 1e-05 of all rows"):
        recipe().settle([100_000, 1])
