"""The undisturbed run that others are compared with: one process, without Ray."""

from longspan.config.load import load
from longspan.config.locations import open_store
from longspan.recipe.schema import Recipe
from longspan.train import standalone
from longspan.train.data import ingest_of
from tests.chaos.run import LONG
from tests.in_process import ingest


def main(recipe: str, name: str) -> int:
    """Ingest the recipe's corpora in this process, then train; returns the exit status."""
    loaded = load(Recipe, recipe, [f"name={name}"])
    ingest(ingest_of(loaded, open_store(loaded)))
    return standalone.main([recipe, f"name={name}", "workers=1", *LONG])
