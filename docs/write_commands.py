"""Writes docs/commands.md from the commands themselves: python docs/write_commands.py."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import click

from longspan.cli.completion import PROGRAM
from longspan.cli.evaluate import SUBCOMMANDS, evaluate
from longspan.cli.exit_codes import ExitCode
from longspan.cli.root import root

PAGE = Path(__file__).with_name("commands.md")
WIDTH = 110

HEAD = """# Commands

Written by `python docs/write_commands.py`. `longspan` is on PATH where the package is installed
([install.md](install.md)); `longspan completion bash` prints the script that completes it in a shell. The scripts in
`jobs/` are the same commands for `ray job submit`: `python jobs/self_instruct.py` is `longspan self-instruct`.

## Exit status

"""


def commands(
    command: click.Command, name: str, parent: click.Context | None
) -> Iterator[tuple[click.Context, click.Command]]:
    """A command and those below it, each with the context that its help is written in."""
    context = command.make_context(
        name, [], parent, resilient_parsing=True, terminal_width=WIDTH, max_content_width=WIDTH
    )
    yield context, command
    if isinstance(command, click.Group):
        for below, each in command.commands.items():
            yield from commands(each, below, context)
    elif command is evaluate:
        for below, each in SUBCOMMANDS.items():
            yield from commands(each, f"{name} {below}", parent)


def page() -> str:
    rows = "".join(f"| {code.value} | {code.meaning} |\n" for code in ExitCode)
    parts = [f"{HEAD}| status | meaning |\n|---:|---|\n{rows}"]
    parts.append(
        "Above 128 a signal ended the command: 128 and its number, 137 for want of memory often.\n"
    )
    for context, command in commands(root, PROGRAM, None):
        parts.append(f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
