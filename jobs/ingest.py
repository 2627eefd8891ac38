"""The ingest as a step of its own: a recipe's corpora into token shards, which runs then train on.

ray job submit -- python jobs/ingest.py [recipe.yaml] [key.path=value ...] [--validate | --plan]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from longspan.recipe.load import load_training
from longspan.recipe.options import parse_options
from longspan.run import console

QUICKSTART = Path(__file__).parent / "recipes" / "quickstart.yaml"


def main(arguments: list[str]) -> int:
    options = parse_options(
        arguments,
        "python jobs/ingest.py",
        "Corpora into token shards; needs the tokenizer, neither the model's weights nor a GPU.",
        QUICKSTART,
    )
    recipe = load_training(options.recipe, options.overrides)
    if options.plan or options.validate:
        from longspan.train.preview import print_ingest_validation, print_plan

        return print_plan(recipe) if options.plan else print_ingest_validation(recipe)

    from longspan.run.cluster import connected
    from longspan.run.corpora import print_corpora
    from longspan.train.data import ingest_corpora

    with connected(recipe.data.pool):
        manifests = ingest_corpora(recipe)
    print_corpora(manifests)
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main, sys.argv[1:]))
