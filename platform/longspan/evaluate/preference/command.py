"""Steps of a preference test: a page for raters, a judge's votes, and their count."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from longspan.errors import UserError
from longspan.evaluate.preference.answers import read_answers
from longspan.evaluate.preference.blind import BlindSet, Key, Pair, blind
from longspan.evaluate.preference.figure import preference_text
from longspan.evaluate.preference.page import preference_page
from longspan.evaluate.preference.votes import Preference, Votes, preference
from longspan.storage import Store

PAGE, KEY, PAIRS = "preference.html", "key.json", "pairs.json"
Model = TypeVar("Model", bound=BaseModel)


def build_page(answers: tuple[str, str], names: tuple[str, str], seed: int, folder: Path) -> None:
    """Write a page with blind pairs, the pairs, and the key that names the models.

    Args:
        answers: files of the two models' answers.
        names: of the models.
        seed: of the order of pairs and replies.
        folder: to write to.

    Raises:
        UserError: a file holds no answers.
    """
    first, second = (read_answers(Store("."), path) for path in answers)
    pairs, key = blind(first, second, names, seed)
    folder.mkdir(parents=True, exist_ok=True)
    data = {"set": pairs.set, "pairs": [asdict(pair) for pair in pairs.pairs]}
    (folder / PAGE).write_text(preference_page(pairs), encoding="utf-8")
    (folder / PAIRS).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    (folder / KEY).write_text(key.model_dump_json(indent=1) + "\n", encoding="utf-8")
    num_left_out = len(first) + len(second) - 2 * len(pairs.pairs)
    print(f"{folder / PAGE}: {len(pairs.pairs):,} pairs; keep {KEY} away from the raters")
    if num_left_out:
        print(
            f"{num_left_out:,} answers were left out: only one of the two models answered their prompts"
        )
    if mentions := pairs.mentions(names):
        print(f"{mentions:,} pairs have a reply that states a model's name: they are not blind")


def ask_for_votes(folder: Path, endpoint: dict[str, Any], target: Path | None) -> None:
    """Ask a judge for its votes on all pairs, and write them.

    Args:
        folder: that `build_page` has written.
        endpoint: `url`, `model` and `key_variable` of the judge.
        target: file of the votes; None: votes-judge.json in the folder.

    Raises:
        UserError: the judge does not answer, or the folder holds no pairs.
    """
    from longspan.evaluate.preference.judge import Judge, ask_judge
    from longspan.generate.endpoint import EndpointAccess, EndpointClient, probe, read_api_key

    judge = _settings(Judge, endpoint)
    access = EndpointAccess(judge, read_api_key(judge, "judge"), "judge")
    probe(access)
    found = ask_judge(judge, EndpointClient(access), _read_pairs(folder / PAIRS), print)
    target = target or folder / "votes-judge.json"
    target.write_text(found.votes.model_dump_json(indent=1) + "\n", encoding="utf-8")
    print(
        f"{target}: {len(found.votes.votes):,} votes, {found.disagreements:,} of them ties because the"
    )
    print("verdict changed with the order of the replies")
    for id, problem in found.problems.items():
        print(f"no vote on {id}: {problem}")


def count_votes(key: Path, votes: Sequence[Path], seed: int) -> Preference:
    """Count votes and print the result.

    Args:
        key: file that names the models of the pairs.
        votes: files of raters.
        seed: of the bootstrap.

    Raises:
        UserError: a file is not what it should be.
    """
    result = preference(_read(Key, key), [_read(Votes, path) for path in votes], seed)
    print(preference_text(result))
    return result


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
