"""Command `self-instruct`."""

from __future__ import annotations

import sys

import click

from longspan.cli.exit_codes import ExitCode
from longspan.cli.help import Command
from longspan.cli.job_options import job_options, split_words

EXAMPLES = """
What it does:
  Cuts long documents into chunks, lets a chat model write questions with answers about them, lets it judge them, and
  makes each that is good enough an example: the whole document, up to target_context, and the question; then the
  answer. Killed at any moment, the same command resumes.

Examples:
  {program}                                                   the sample recipe
  {program} my.yaml --plan                                    what it will do, and why
  {program} my.yaml generator.model=models/chat-7b            another local model
  {program} my.yaml generator.model=null tokenizer=models/chat-7b \\
      'generator.endpoint={url: http://127.0.0.1:8000/v1, model: big, key_variable: API_KEY}'
  {program} my.yaml max_documents=20 critique.min_score=3     a small trial first

A value is YAML (2e-5, true, [a, b], {length: 4096}). docs/self_instruct.md explains every stage.
"""


@click.command("self-instruct", cls=Command, examples=EXAMPLES)
@job_options
def self_instruct(words: tuple[str, ...], plan: bool, validate: bool) -> int:
    """Synthetic questions and answers over long documents."""
    from longspan.config.load import load
    from longspan.instruct.describe import plan_text
    from longspan.instruct.prepare import prepare
    from longspan.instruct.schema import InstructRecipe

    recipe = load(InstructRecipe, *split_words(words, "self_instruct"))
    prepared = prepare(recipe)
    if plan:
        print(plan_text(prepared))
        return ExitCode.OK
    if validate:
        print(
            f"{recipe.name}: the recipe is valid, its generator and {len(recipe.corpora)} sources are there"
        )
        return ExitCode.OK

    from longspan.instruct.job import run
    from longspan.runtime.session import connected

    with connected(recipe.data.pool):
        failure = run(prepared)
    if failure is not None:
        print(f"error: {failure}", file=sys.stderr)
        return ExitCode.FAILED
    return ExitCode.OK
