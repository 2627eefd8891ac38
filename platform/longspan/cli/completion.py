"""Command `completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from longspan.cli.exit_codes import ExitCode
from longspan.cli.help import Command

PROGRAM = "longspan"
VARIABLE = "_LONGSPAN_COMPLETE"
"""Set by the completion script of a shell when it asks for words."""

EXAMPLES = """
Examples:
  eval "$({program} bash)"                                        in ~/.bashrc
  eval "$({program} zsh)"                                         in ~/.zshrc
  {program} fish > ~/.config/fish/completions/longspan.fish
"""


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the script that completes `longspan` in a shell."""
    script = get_completion_class(shell)
    assert script is not None
    print(script(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
    return ExitCode.OK
