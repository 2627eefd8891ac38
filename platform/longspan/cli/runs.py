"""Commands `check-history`, `export` and `download`, on runs in the store."""

from __future__ import annotations

from pathlib import Path

import click

from longspan.cli.exit_codes import ExitCode
from longspan.cli.help import Command
from longspan.errors import UserError

HISTORY_EXAMPLES = """
Examples:
  {program} .longspan/store/runs/my-run                            one run, over all its starts
  {program} s3://bucket/prefix/runs/a s3://bucket/prefix/runs/b    two runs, also compared
"""
EXPORT_EXAMPLES = """
Examples:
  {program} .longspan/store/runs/quickstart --to my-model
  {program} s3://bucket/prefix/runs/long --update 2000 --to my-model

The job may go on meanwhile. A run keeps its newest checkpoints (training.keep_checkpoints, training.keep_every).
"""
DOWNLOAD_EXAMPLES = """
Examples:
  {program} s3://bucket/prefix/runs/my-run/model my-model
  {program} s3://bucket/prefix/runs/my-run/tensorboard tb/my-run
"""

endpoint_option = click.option(
    "--endpoint", metavar="URL", help="S3 server other than AWS (AWS_ENDPOINT_URL)."
)


@click.command("check-history", cls=Command, examples=HISTORY_EXAMPLES)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@endpoint_option
def check_history(runs: tuple[str, ...], endpoint: str | None) -> int:
    """Check that runs which were stopped, resized and restarted were each one undisturbed run.

    RUN is the folder of a run in the store, or its s3:// address. Read is what every worker was given, over all starts:
    every row once, every token of an epoch once, and what was done twice the same both times. Several runs are also
    compared with each other. Exit status 0 if all is well, 1 if not.
    """
    from longspan.history.report import report

    text, is_sound = report(runs, endpoint)
    print(text)
    return ExitCode.OK if is_sound else ExitCode.FAILED


@click.command(cls=Command, examples=EXPORT_EXAMPLES)
@click.argument("run")
@click.option("--update", type=int, help="Updates done at the checkpoint; default: the newest one.")
@click.option("--to", required=True, metavar="FOLDER", help="A new local folder.")
@endpoint_option
def export(run: str, update: int | None, to: str, endpoint: str | None) -> int:
    """Write the model of a run's checkpoint as a Hugging Face folder, with tokenizer and configs.

    RUN is the folder of a run in the store, or its s3:// address.
    """
    from longspan.train.checkpoint.checkpoints import Checkpoints
    from longspan.train.checkpoint.export import export_checkpoint, run_of
    from longspan.train.checkpoint.run_record import read_run_record

    store, run_path = run_of(run, endpoint)
    read_run_record(store, run_path)
    folder = Path(to).absolute()
    if folder.exists():
        raise UserError(f"--to: {folder} exists; give a new folder")
    if update is None:
        update = next(iter(Checkpoints(store, run_path).committed()), 0)
    export_checkpoint(store, run_path, update, folder)
    print(f"model after {update:,} updates: {folder}")
    return ExitCode.OK


@click.command(cls=Command, examples=DOWNLOAD_EXAMPLES)
@click.argument("address")
@click.argument("folder")
def download(address: str, folder: str) -> int:
    """Copy what is below an address, such as an exported model, to a local folder.

    ADDRESS is s3://bucket/path, or a folder. FOLDER is made if it does not exist.
    """
    from longspan.storage import Store

    try:
        Store(address).download("", folder)
    except FileNotFoundError as error:
        raise UserError(str(error)) from error
    return ExitCode.OK
