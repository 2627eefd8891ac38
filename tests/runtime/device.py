"""A driver that prints what a recipe's workers would compute on."""

import sys
from pathlib import Path

from longspan.recipe.load import load_recipe
from longspan.runtime import console
from longspan.runtime.session import cluster_device, connected

RECIPE = Path(__file__).parents[2] / "jobs" / "recipes" / "quickstart.yaml"


def main(overrides: list[str]) -> int:
    recipe = load_recipe(RECIPE, overrides)
    with connected() as log:
        print("device:", cluster_device(recipe.workers, log).name)
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main, sys.argv[1:]))
