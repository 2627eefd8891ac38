"""Commands whose help ends in examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 120}


class Command(click.Command):
    """Command with examples in its help."""

    def __init__(self, *args: Any, examples: str = "", **options: Any) -> None:
        """Take click's own arguments, and examples.

        Args:
            args: click's.
            examples: text after the options, printed as it is; ``{program}`` is replaced by what was typed.
            options: click's.
        """
        super().__init__(*args, context_settings=SETTINGS, **options)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(self.examples, ctx, formatter)


class Group(click.Group):
    """Group of commands under headings, with examples in its help."""

    command_class = Command

    def __init__(
        self,
        *args: Any,
        examples: str = "",
        sections: Mapping[str, Sequence[click.Command]] | None = None,
        **options: Any,
    ) -> None:
        """Take click's own arguments, examples and commands.

        Args:
            args: click's.
            examples: as those of a `Command`.
            sections: commands by the heading that they are listed under, in order.
            options: click's.
        """
        super().__init__(*args, context_settings=SETTINGS, **options)
        self.examples = examples
        self._headings: dict[str, str] = {}
        for heading, commands in (sections or {}).items():
            for command in commands:
                assert command.name
                self.add_command(command)
                self._headings[command.name] = heading

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which they were added."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of commands per heading."""
        lists: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            row = (name, command.get_short_help_str(limit=200))
            lists.setdefault(self._headings.get(name, "Commands"), []).append(row)
        for heading, rows in lists.items():
            with formatter.section(heading):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(self.examples, ctx, formatter)


def write_examples(text: str, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write examples as they are, with the name of the command in place of ``{program}``."""
    if text:
        formatter.write("\n" + text.strip("\n").replace("{program}", ctx.command_path) + "\n")
