"""Continual pretraining: a short-context model and corpora in, a long-context model out.

ray job submit -- python jobs/pretrain.py [recipe.yaml] [key.path=value ...] [--validate | --plan]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from longspan.recipe.load import load_recipe
from longspan.recipe.options import parse_options
from longspan.run import console

QUICKSTART = Path(__file__).parent / "recipes" / "quickstart.yaml"


def main(arguments: list[str]) -> int:
    options = parse_options(
        arguments,
        "python jobs/pretrain.py",
        "Continual pretraining to a longer context.",
        QUICKSTART,
    )
    recipe = load_recipe(options.recipe, options.overrides)
    if options.plan or options.validate:
        from longspan.train.preview import print_plan, print_validation

        return print_plan(recipe) if options.plan else print_validation(recipe)

    from longspan.run.cluster import cluster_device, connected
    from longspan.run.summary import print_summary
    from longspan.train.prepare import prepare
    from longspan.train.ray_host import fit

    with connected(recipe.data.pool) as say:
        job = prepare(recipe, cluster_device(recipe.workers, say))
        fit(job, say)
    print_summary(job)
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main, sys.argv[1:]))
