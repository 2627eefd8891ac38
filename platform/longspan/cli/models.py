"""Command `models`."""

from __future__ import annotations

import click

from longspan.cli.exit_codes import ExitCode
from longspan.cli.help import Command

EXAMPLES = """
Examples:
  {program} qwen3 lfm2    two architectures
  {program}               all causal language models in transformers: minutes
"""


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("types", nargs=-1, metavar="[MODEL_TYPE]...")
def models(types: tuple[str, ...]) -> int:
    """Print which architectures can be trained, found by running a tiny model of each.

    MODEL_TYPE is that of config.json.
    """
    from longspan.model.support import print_table

    print_table(types)
    return ExitCode.OK
