"""Pairwise preference between two models: a blind page for people, a judge endpoint, and the count of votes.

Examples:
  # A page to vote on, and the key that names the models. Answers are JSON lines with prompt and reply.
  python -m longspan.evaluate.preference build base.jsonl tuned.jsonl --names base tuned --to preference/
  # Votes of a judge on the same pairs, each asked in both orders.
  python -m longspan.evaluate.preference judge preference/ --url http://127.0.0.1:8000/v1 --model my-judge
  # Win rate with its interval, of the files that raters saved.
  python -m longspan.evaluate.preference score preference/key.json votes-ann.json votes-bob.json --figure wins.svg
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from longspan.errors import UserError
from longspan.evaluate.preference.answers import read_answers
from longspan.evaluate.preference.blind import BlindSet, Key, Pair, blind
from longspan.evaluate.preference.figure import preference_figure, preference_text
from longspan.evaluate.preference.page import preference_page
from longspan.evaluate.preference.votes import Votes, preference
from longspan.storage import Store

PAGE, KEY, PAIRS = "preference.html", "key.json", "pairs.json"
Model = TypeVar("Model", bound=BaseModel)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 2 and a message for a mistake of the user's."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except UserError as error:
        print(f"preference: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m longspan.evaluate.preference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="build | judge | score")
    build = commands.add_parser("build", help="write the page, its pairs and the key")
    build.add_argument("first", help=".jsonl with prompt and reply, or samples/<task>.parquet")
    build.add_argument("second", help="the same prompts, answered by the other model")
    build.add_argument("--names", nargs=2, required=True, help="of the models; for the key alone")
    build.add_argument("--seed", type=int, default=0, help="of the order of pairs and replies (0)")
    build.add_argument("--to", type=Path, required=True, help="folder to write to")
    build.set_defaults(run=_build)
    judge = commands.add_parser("judge", help="ask a model for its votes")
    judge.add_argument("folder", type=Path, help="that build has written")
    judge.add_argument(
        "--url", required=True, help="of an OpenAI-compatible server: https://host/v1"
    )
    judge.add_argument("--model", required=True, help="name of the judge there")
    judge.add_argument(
        "--key-variable", help="environment variable with the API key (none is sent)"
    )
    judge.add_argument("--to", type=Path, help="file of the votes (votes-judge.json in the folder)")
    judge.set_defaults(run=_judge)
    score = commands.add_parser("score", help="count votes")
    score.add_argument("key", type=Path, help="key.json that build has written")
    score.add_argument("votes", type=Path, nargs="+", help="files that raters have saved")
    score.add_argument("--seed", type=int, default=0, help="of the bootstrap (0)")
    score.add_argument("--figure", type=Path, help="write the bars as SVG")
    score.add_argument("--json", type=Path, help="write the result as JSON")
    score.set_defaults(run=_score)
    return parser


def _build(options: argparse.Namespace) -> None:
    store = Store(".")
    first, second = read_answers(store, options.first), read_answers(store, options.second)
    pairs, key = blind(first, second, tuple(options.names), options.seed)
    options.to.mkdir(parents=True, exist_ok=True)
    data = {"set": pairs.set, "pairs": [asdict(pair) for pair in pairs.pairs]}
    (options.to / PAGE).write_text(preference_page(pairs), encoding="utf-8")
    (options.to / PAIRS).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    (options.to / KEY).write_text(key.model_dump_json(indent=1) + "\n", encoding="utf-8")
    left_out = len(first) + len(second) - 2 * len(pairs.pairs)
    print(f"{options.to / PAGE}: {len(pairs.pairs):,} pairs; keep {KEY} away from the raters")
    if left_out:
        print(
            f"{left_out:,} answers were left out: only one of the two models answered their prompts"
        )
    if mentions := pairs.mentions(options.names):
        print(f"{mentions:,} pairs have a reply that states a model's name: they are not blind")


def _judge(options: argparse.Namespace) -> None:
    from longspan.evaluate.preference.judge import Judge, ask_judge
    from longspan.generate.endpoint import EndpointAccess, EndpointClient, probe, read_api_key

    given = {"url": options.url, "model": options.model, "key_variable": options.key_variable}
    judge = _settings(Judge, given)
    access = EndpointAccess(judge, read_api_key(judge, "judge"), "judge")
    probe(access)
    found = ask_judge(judge, EndpointClient(access), _read_pairs(options.folder / PAIRS), print)
    target = options.to or options.folder / "votes-judge.json"
    target.write_text(found.votes.model_dump_json(indent=1) + "\n", encoding="utf-8")
    print(
        f"{target}: {len(found.votes.votes):,} votes, {found.disagreements:,} of them ties because the"
    )
    print("verdict changed with the order of the replies")
    for id, problem in found.problems.items():
        print(f"no vote on {id}: {problem}")


def _score(options: argparse.Namespace) -> None:
    key = _read(Key, options.key)
    result = preference(key, [_read(Votes, path) for path in options.votes], options.seed)
    print(preference_text(result))
    if options.json:
        options.json.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    if options.figure:
        options.figure.write_bytes(preference_figure(result))


def _read_pairs(path: Path) -> BlindSet:
    try:
        stored = json.loads(_text(path))
        return BlindSet(stored["set"], tuple(Pair(**pair) for pair in stored["pairs"]))
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: holds no pairs; give the folder that build has written") from None


def _read(model: type[Model], path: Path) -> Model:
    try:
        return model.model_validate_json(_text(path))
    except ValidationError as error:
        what = "key" if model is Key else "votes"
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its beginning"
        raise UserError(
            f"{path}: is no file of {what} ({first['msg']} at {where}); give one"
        ) from None


def _settings(model: type[Model], values: dict[str, Any]) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"judge.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: can't be read ({error}); give a file that build or the page wrote"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
