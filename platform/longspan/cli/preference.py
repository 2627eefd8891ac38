"""Command `evaluate preference`: which of two models people, or a judge, prefer."""

from __future__ import annotations

from pathlib import Path

import click

from longspan.cli.exit_codes import ExitCode
from longspan.cli.help import Group

EXAMPLES = """
Examples:
  # A page to vote on, and the key that names the models. Answers are JSON lines with prompt and reply.
  {program} build base.jsonl tuned.jsonl --names base tuned --to preference/
  # Votes of a judge on the same pairs, each asked in both orders.
  {program} judge preference/ --url http://127.0.0.1:8000/v1 --model my-judge
  # Win rate with its interval, of the files that raters saved.
  {program} score preference/key.json votes-ann.json votes-bob.json --figure wins.svg
"""
FILE = click.Path(path_type=Path)


@click.group(cls=Group, examples=EXAMPLES)
def preference() -> None:
    """Pairwise preference between two models: a blind page for people, a judge endpoint, and the count of votes."""


@preference.command()
@click.argument("first")
@click.argument("second")
@click.option("--names", nargs=2, required=True, help="Names of the models; for the key alone.")
@click.option(
    "--seed", default=0, show_default=True, help="Seed of the order of pairs and replies."
)
@click.option("--to", type=FILE, required=True, help="Folder to write to.")
def build(first: str, second: str, names: tuple[str, str], seed: int, to: Path) -> int:
    """Write the page, its pairs and the key.

    FIRST and SECOND are answers of the two models to the same prompts: JSON lines with prompt and reply, or
    samples/<task>.parquet of an evaluation.
    """
    from longspan.evaluate.preference.command import build_page

    build_page((first, second), names, seed, to)
    return ExitCode.OK


@preference.command()
@click.argument("folder", type=FILE)
@click.option(
    "--url", required=True, help="Address of an OpenAI-compatible server: https://host/v1."
)
@click.option("--model", required=True, help="Name of the judge there.")
@click.option("--key-variable", help="Environment variable with the API key; unset: none is sent.")
@click.option("--to", type=FILE, help="File of the votes; default: votes-judge.json in the folder.")
def judge(folder: Path, url: str, model: str, key_variable: str | None, to: Path | None) -> int:
    """Ask a model for its votes on the pairs in a FOLDER that `build` has written."""
    from longspan.evaluate.preference.command import ask_for_votes

    given = {"url": url, "model": model, "key_variable": key_variable}
    ask_for_votes(folder, given, to)
    return ExitCode.OK


@preference.command()
@click.argument("key", type=FILE)
@click.argument("votes", type=FILE, nargs=-1, required=True)
@click.option("--seed", default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--figure", type=FILE, help="Write the bars as SVG.")
@click.option("--json", type=FILE, help="Write the result as JSON.")
def score(
    key: Path, votes: tuple[Path, ...], seed: int, figure: Path | None, json: Path | None
) -> int:
    """Count VOTES, files that raters have saved, with the KEY that `build` has written."""
    from longspan.evaluate.preference.command import count_votes

    result = count_votes(key, votes, seed)
    if json:
        json.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    if figure:
        from longspan.evaluate.preference.figure import preference_figure

        figure.write_bytes(preference_figure(result))
    return ExitCode.OK
