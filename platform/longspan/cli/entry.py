"""Ways into the commands: `longspan`, a script in `jobs/`, and `python -m longspan.PACKAGE`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click
from click.shell_completion import shell_complete

from longspan.cli.completion import PROGRAM, VARIABLE
from longspan.cli.exit_codes import ExitCode
from longspan.cli.missing import require_extra
from longspan.cli.root import root
from longspan.runtime import console


def main() -> int:
    """Run `longspan` with the arguments of this process."""
    if instruction := os.environ.get(VARIABLE):
        return shell_complete(root, {}, PROGRAM, VARIABLE, instruction)
    return _run(root, sys.argv[1:], PROGRAM)


def run_job(script: str) -> int:
    """Run the command of a script in `jobs/` with the arguments of this process.

    Args:
        script: its path.
    """
    path = Path(script)
    program = f"python {path.parent.name}/{path.name}"
    return _run(command_named(path.stem), sys.argv[1:], program)


def run_module(command: click.Command, program: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command as ``python -m`` of a package.

    Args:
        command: to run.
        program: what was typed, for the help.
        arguments: those of this process by default.
    """
    return _run(command, sys.argv[1:] if arguments is None else arguments, program)


def command_named(name: str) -> click.Command:
    """Return the command ``name``, such as "self_instruct" or "self-instruct"."""
    return root.commands[name.replace("_", "-")]


def invoke(command: click.Command, program: str, arguments: Sequence[str]) -> ExitCode:
    """Parse arguments and run a command.

    Args:
        command: to run.
        program: what was typed, for messages and the help.
        arguments: after the program.

    Returns:
        The exit status; every status of a command is a documented one.

    Raises:
        UserError: a mistake of the user's, or a package of an extra is missing.
    """
    try:
        with command.make_context(program, list(arguments)) as context:
            return ExitCode(context.command.invoke(context) or ExitCode.OK)
    except click.exceptions.Exit as done:
        return ExitCode(done.exit_code)
    except click.ClickException as mistake:
        mistake.show()
        return ExitCode.USER_ERROR
    except ModuleNotFoundError as missing:
        require_extra(missing)
        raise


def _run(command: click.Command, arguments: Sequence[str], program: str) -> int:
    return console.run(partial(invoke, command, program), list(arguments))
