"""The command `longspan` with all its commands."""

from __future__ import annotations

import click

from longspan.cli.cluster import cluster
from longspan.cli.completion import completion
from longspan.cli.doctor import doctor
from longspan.cli.evaluate import evaluate
from longspan.cli.help import Group
from longspan.cli.models import models
from longspan.cli.pipeline import pipeline
from longspan.cli.plan import plan
from longspan.cli.recipes import recipes
from longspan.cli.runs import check_history, download, export
from longspan.cli.samples import samples
from longspan.cli.self_instruct import self_instruct
from longspan.cli.serve import serve
from longspan.cli.training import ingest, pretrain, sft

EXAMPLES = """
Examples:
  longspan doctor                                is this machine ready: one line each, with the remedy
  longspan samples && longspan pretrain          the quickstart: a model of 135M parameters, minutes on two CPU cores
  longspan recipes copy llama3-8b-64k my.yaml    a recipe to change
  longspan pretrain my.yaml --plan               what a run will do and cost, and why; starts nothing
  ray job submit -- longspan pretrain /data/my.yaml    the same run as a job of the cluster that runs

Every command has --help. Exit status: 0 done, 1 failed, 2 a mistake that the message names, 130 interrupted; of an
evaluation 3 for the verdict fail and 4 for inconclusive. docs/commands.md has all of it.
"""

SECTIONS: dict[str, tuple[click.Command, ...]] = {
    "Begin": (doctor, samples, recipes, completion),
    "Jobs": (plan, pretrain, sft, ingest, self_instruct, evaluate, pipeline),
    "Runs and models": (check_history, export, download, models),
    "Service and cluster": (serve, cluster),
}


@click.group("longspan", cls=Group, examples=EXAMPLES, sections=SECTIONS)
@click.version_option(package_name="longspan")
def root() -> None:
    """Long-context continual pretraining, instruction tuning, evaluation and serving on one Ray cluster."""
