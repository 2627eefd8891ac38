"""The undisturbed run that others are compared with: one process, without Ray."""

from longspan.ingest.objects import ingest_object
from longspan.ingest.state import SourceState
from longspan.ingest.tokenizer import Tokenizer
from longspan.recipe.load import load
from longspan.recipe.schema import Recipe
from longspan.recipe.sources import open_store
from longspan.train import standalone
from longspan.train.data import ingest_of
from tests.chaos.run import LONG


def main(recipe: str, name: str) -> int:
    """Ingest the recipe's corpora in this process, then train; returns the exit status."""
    loaded = load(Recipe, recipe, [f"name={name}"])
    store = open_store(loaded)
    ingest = ingest_of(loaded, store)
    tokenizer = Tokenizer(ingest.tokenizer_dir, ingest.separator)
    for spec in ingest.specs:
        source = SourceState(store, spec, ingest.settings, ingest.bad_input)
        for info in source.pending:
            source.add(
                ingest_object(store, spec, info, ingest.settings, tokenizer, ingest.bad_input)
            )
        source.finish(print)
    return standalone.main([recipe, f"name={name}", "workers=1", *LONG])
