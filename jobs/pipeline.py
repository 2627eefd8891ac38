"""From a base model to a chat model: continual pretraining, self-instruct, finetuning, one after another.

ray job submit -- python jobs/pipeline.py [pipeline.yaml] [stage.key.path=value ...] [--validate | --plan]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from longspan.config.load import load
from longspan.pipeline.schema import PipelineRecipe
from longspan.recipe.options import parse_options
from longspan.run import console

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = ROOT / "jobs" / "recipes" / "pipeline" / "quickstart.yaml"

EXAMPLES = """
examples:
  {program}                                        the sample model and corpora, less than an hour
  {program} my.yaml --plan                         which stages would run, and which are done
  {program} my.yaml storage.root=s3://bucket/runs  another store, for all stages
  {program} my.yaml sft.training.epochs=1          one value changed, in one stage

A pipeline names a recipe for each stage (pretrain, self_instruct, sft, evaluate); each is a recipe of that stage's own
job. The evaluation follows each training stage.
A stage is skipped if it already succeeded with the same recipe, corpora and models; a killed one resumes.
"""


def main(arguments: list[str]) -> int:
    options = parse_options(
        arguments,
        "python jobs/pipeline.py",
        "A chat model from a base model.",
        QUICKSTART,
        EXAMPLES,
    )
    pipeline = load(PipelineRecipe, options.recipe)

    from longspan.pipeline.run import print_stages, run
    from longspan.pipeline.stages import stages_of

    stages = stages_of(pipeline, options.recipe, options.overrides)
    if options.plan or options.validate:
        return print_stages(stages, ROOT)
    return run(stages, ROOT)


if __name__ == "__main__":
    sys.exit(console.run(main, sys.argv[1:]))
