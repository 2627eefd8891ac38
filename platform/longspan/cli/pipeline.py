"""Command `pipeline`."""

from __future__ import annotations

import click

from longspan.cli.help import Command
from longspan.cli.job_options import job_options, split_words

EXAMPLES = """
Examples:
  {program}                                        the sample model and corpora, less than an hour
  {program} my.yaml --plan                         which stages would run, and which are done
  {program} my.yaml storage.root=s3://bucket/runs  another store, for all stages
  {program} my.yaml sft.training.epochs=1          one value changed, in one stage

A pipeline names a recipe for each stage (pretrain, self_instruct, sft, evaluate); each is a recipe of that stage's own
job. The evaluation follows each training stage. `longspan recipes copy pipeline/quickstart my.yaml` writes one to
change, with its recipes beside it.
A stage is skipped if it already succeeded with the same recipe, corpora and models; a killed one resumes.
"""


@click.command(cls=Command, examples=EXAMPLES)
@job_options
def pipeline(words: tuple[str, ...], plan: bool, validate: bool) -> int:
    """From a base model to a chat model: continual pretraining, self-instruct, finetuning, one after another."""
    from longspan.config.load import load
    from longspan.pipeline.run import print_stages, run
    from longspan.pipeline.schema import PipelineRecipe
    from longspan.pipeline.stages import stages_of

    path, overrides = split_words(words, "pipeline/quickstart")
    stages = stages_of(load(PipelineRecipe, path), path, overrides)
    if plan or validate:
        return print_stages(stages)
    return run(stages)
