"""Command `plan`: the plan of a file of any kind."""

from __future__ import annotations

import click

from longspan.cli.evaluate import evaluate
from longspan.cli.exit_codes import ExitCode
from longspan.cli.help import Command
from longspan.cli.job_options import words as words_argument
from longspan.cli.pipeline import pipeline
from longspan.cli.self_instruct import self_instruct
from longspan.cli.serve import plan as serving_plan
from longspan.cli.training import pretrain, sft
from longspan.errors import UserError

EXAMPLES = """
Examples:
  {program} my.yaml                    what the job of this recipe will do and cost, and why
  {program} my.yaml workers=8          with a value changed
  {program} chat.yaml                  what a config of the chat service would serve (asks the Ray cluster)
"""


@click.command(cls=Command, examples=EXAMPLES)
@words_argument
@click.pass_context
def plan(ctx: click.Context, words: tuple[str, ...]) -> int:
    """Print every derived value of a recipe or a config, with its reason; start nothing.

    The kind of the file is told by its keys.
    """
    from longspan.config import file_kinds
    from longspan.config.load import read_file

    files = [word for word in words if "=" not in word]
    if len(files) != 1:
        raise click.UsageError("name one recipe", ctx)
    kind = file_kinds.kind_of(read_file(files[0], file_kinds.PRETRAINING))
    overrides = [word for word in words if "=" in word]
    if kind is file_kinds.SERVING:
        arguments = ["--config", files[0], *overrides]
        return _run(serving_plan, arguments, ctx)
    jobs = {
        file_kinds.PRETRAINING: pretrain,
        file_kinds.FINETUNING: sft,
        file_kinds.SELF_INSTRUCT: self_instruct,
        file_kinds.EVALUATION: evaluate,
        file_kinds.PIPELINE: pipeline,
    }
    if kind not in jobs:
        found = "of no known kind" if kind is None else kind.name
        raise UserError(f"recipe: {files[0]} is {found}, which has no plan; give a recipe")
    return _run(jobs[kind], [files[0], *overrides, "--plan"], ctx)


def _run(command: click.Command, arguments: list[str], parent: click.Context) -> int:
    with command.make_context(command.name, arguments, parent) as context:
        return command.invoke(context) or ExitCode.OK
