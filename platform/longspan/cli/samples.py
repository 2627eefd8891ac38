"""Command `samples`."""

from __future__ import annotations

from pathlib import Path

import click

from longspan.cli.exit_codes import ExitCode
from longspan.cli.help import Command


@click.command(cls=Command)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    default=Path(".longspan"),
    show_default=True,
    help="Folder that they go to.",
)
def samples(folder: Path) -> int:
    """Fetch the sample model and the sample corpora that the quickstart recipes name."""
    from longspan.samples.make import make_samples

    make_samples(folder)
    return ExitCode.OK
