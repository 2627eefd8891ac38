"""Recipes of evaluation: what is shipped is valid, and mistakes are named before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from longspan.config.load import load, parse
from longspan.errors import UserError
from longspan.evaluate.probes.registry import tasks_of
from longspan.evaluate.schema import EvaluateRecipe

RECIPES = Path(__file__).parents[2] / "jobs" / "recipes"
CORPUS = {"name": "books", "path": "corpora/books", "heldout_fraction": 0.1}


def recipe(**values: Any) -> EvaluateRecipe:
    return parse(
        EvaluateRecipe, {"name": "probe", "model": "models/a", "corpora": [CORPUS]} | values
    )


@pytest.mark.parametrize(
    "path", sorted((RECIPES / "evaluate").glob("*.yaml")), ids=lambda path: path.stem
)
def test_shipped_recipes_are_valid_and_name_tasks_that_there_are(path: Path) -> None:
    found = load(EvaluateRecipe, path)
    assert tasks_of(found.probes.tasks)
    assert found.corpora[0].heldout_fraction


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heldout_fraction": None}, r"corpora.books: heldout_fraction: required"),
        ({"weight": 0.5}, r"corpora.books: weight: would be ignored here"),
        ({"pack": False}, r"corpora.books: pack: would be ignored here"),
        ({"format": "chat"}, r"corpora.books: format: chat has conversations"),
        ({"min_tokens": 100}, r"min_tokens, max_tokens: .*use min_characters"),
    ],
)
def test_keys_of_a_source_that_would_be_ignored_are_refused(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        recipe(corpora=[CORPUS | change])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"probes": {"lengths": [2048, 1024]}}, r"probes.lengths: must be rising"),
        ({"probes": {"lengths": [64]}}, r"probes.lengths: .*none below 128"),
        (
            {"probes": {"sample": 3}},
            r"probes.sample: unknown key; the nearest known key is probes.samples",
        ),
        (
            {"engine": {"arguments": {"model": "x"}}},
            r"engine.arguments: 'model' can't be set here; set model",
        ),
        (
            {"endpoint": {"url": "https://h/v1", "model": "m"}},
            r"losses.documents: an endpoint gives no losses",
        ),
        (
            {
                "endpoint": {"url": "https://h/v1", "model": "m"},
                "losses": {"documents": 0},
                "reference": "models/b",
            },
            r"reference: both models would be asked at the same endpoint",
        ),
        ({"gate": {"required": ["recal"]}}, r"gate.required.0"),
    ],
)
def test_mistakes_are_named_by_their_keys(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe(**values)
