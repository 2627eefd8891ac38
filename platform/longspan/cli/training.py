"""Commands `pretrain`, `sft` and `ingest`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from longspan.cli.exit_codes import ExitCode
from longspan.cli.help import Command
from longspan.cli.job_options import EXAMPLES, job_options, split_words

if TYPE_CHECKING:
    from longspan.recipe.schema import Recipe


@click.command(cls=Command, examples=EXAMPLES)
@job_options
def pretrain(words: tuple[str, ...], plan: bool, validate: bool) -> int:
    """Continual pretraining to a longer context."""
    from longspan.recipe.load import load_recipe

    return _train(load_recipe(*split_words(words, "quickstart")), plan, validate)


@click.command(cls=Command, examples=EXAMPLES)
@job_options
def sft(words: tuple[str, ...], plan: bool, validate: bool) -> int:
    """Supervised finetuning on conversations, short ones packed, long ones a row each."""
    from longspan.config.load import load
    from longspan.recipe.sft import SftRecipe

    path, overrides = split_words(words, "sft/quickstart")
    return _train(load(SftRecipe, path, overrides), plan, validate)


@click.command(cls=Command, examples=EXAMPLES)
@job_options
def ingest(words: tuple[str, ...], plan: bool, validate: bool) -> int:
    """Corpora into token shards; needs the tokenizer, neither the model's weights nor a GPU."""
    from longspan.recipe.load import load_training

    recipe = load_training(*split_words(words, "quickstart"))
    if plan or validate:
        from longspan.train.preview import print_ingest_validation, print_plan

        return print_plan(recipe) if plan else print_ingest_validation(recipe)

    from longspan.ingest.summary import print_corpora
    from longspan.runtime.session import connected
    from longspan.train.data.corpora import ingest_corpora

    with connected(recipe.data.pool):
        manifests = ingest_corpora(recipe)
    print_corpora(manifests)
    return ExitCode.OK


def _train(recipe: Recipe, plan: bool, validate: bool) -> int:
    if plan or validate:
        from longspan.train.preview import print_plan, print_validation

        return print_plan(recipe) if plan else print_validation(recipe)

    from longspan.runtime.session import cluster_device, connected
    from longspan.train.prepare import prepare
    from longspan.train.ray_host import fit
    from longspan.train.summary import print_summary

    with connected(recipe.data.pool) as log:
        job = prepare(recipe, cluster_device(recipe.workers, log))
        fit(job, log)
    print_summary(job)
    return ExitCode.OK
