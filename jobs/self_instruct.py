"""Self-instruct: long documents in, chat examples with long questions out, without human labels.

ray job submit -- python jobs/self_instruct.py [recipe.yaml] [key.path=value ...] [--validate | --plan]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from longspan.config.load import load
from longspan.instruct.schema import InstructRecipe
from longspan.recipe.options import parse_options
from longspan.run import console

SAMPLE = Path(__file__).parent / "recipes" / "self_instruct.yaml"

EXAMPLES = """
what it does:
  cuts long documents into chunks, lets a chat model write questions with answers about them, lets it judge
  them, and makes each that is good enough an example: the whole document, up to target_context, and the
  question; then the answer. Killed at any moment, the same command goes on where it was.

examples:
  {program}                                                   the sample recipe
  {program} my.yaml --plan                                    what it will do, and why
  {program} my.yaml generator.model=models/chat-7b            another local model
  {program} my.yaml generator.model=null tokenizer=models/chat-7b \\
      'generator.endpoint={{url: http://127.0.0.1:8000/v1, model: big, key_variable: API_KEY}}'
  {program} my.yaml max_documents=20 critique.min_score=3     a small trial first

A value is YAML (2e-5, true, [a, b], {{length: 4096}}). docs/self_instruct.md explains every stage.
"""


def main(arguments: list[str]) -> int:
    options = parse_options(
        arguments,
        "python jobs/self_instruct.py",
        "Synthetic questions and answers over long documents.",
        SAMPLE,
        EXAMPLES,
    )
    recipe = load(InstructRecipe, options.recipe, options.overrides)

    from longspan.instruct.describe import plan_text
    from longspan.instruct.prepare import prepare

    prepared = prepare(recipe)
    if options.plan:
        print(plan_text(prepared))
        return 0
    if options.validate:
        print(
            f"{recipe.name}: the recipe is valid, its generator and {len(recipe.corpora)} sources are there"
        )
        return 0

    from longspan.instruct.job import run
    from longspan.run.cluster import connected

    with connected(recipe.data.pool):
        why = run(prepared)
    if why is not None:
        print(f"error: {why}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main, sys.argv[1:]))
