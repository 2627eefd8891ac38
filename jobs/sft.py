"""Supervised finetuning: a long-context model and conversations in, a chat model out.

ray job submit -- python jobs/sft.py [recipe.yaml] [key.path=value ...] [--validate | --plan]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from longspan.config.load import load
from longspan.recipe.options import parse_options
from longspan.recipe.sft import SftRecipe
from longspan.run import console

EXAMPLE = Path(__file__).parent / "recipes" / "sft" / "quickstart.yaml"


def main(arguments: list[str]) -> int:
    options = parse_options(
        arguments,
        "python jobs/sft.py",
        "Supervised finetuning on conversations, short ones packed, long ones a row each.",
        EXAMPLE,
    )
    recipe = load(SftRecipe, options.recipe, options.overrides)
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
