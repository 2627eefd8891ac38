"""Answers of a model: prompts with its replies, read from a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from longspan.errors import UserError
from longspan.evaluate.report.load import read_sample_file
from longspan.evaluate.results import SampleRecord
from longspan.hashing import content_id
from longspan.storage import Store


@dataclass(frozen=True)
class Answer:
    """One prompt with a model's reply.

    Attributes:
        id: identity of the prompt: the same for all models.
        prompt: text.
        reply: text.
    """

    id: str
    prompt: str
    reply: str


def read_answers(store: Store, path: str) -> list[Answer]:
    """Read a model's answers.

    Args:
        store: what relative paths are relative to.
        path: JSON lines with `prompt`, `reply`, and optionally `id`; or `samples/<task>.parquet` of an evaluation,
            of which the head and tail of each prompt are shown. Samples without a reply are left out.

    Raises:
        UserError: the file is not there, a line is not of that form, or an id is there twice.
    """
    if path.endswith(".parquet"):
        answers = [
            _from_sample(record) for record in read_sample_file(store, path) if not record.problem
        ]
    else:
        answers = _from_lines(store, path)
    seen: set[str] = set()
    for answer in answers:
        if answer.id in seen:
            raise UserError(
                f"{path}: the prompt with id {answer.id!r} is there twice; keep one reply for each, "
                "or give them ids"
            )
        seen.add(answer.id)
    return answers


def _from_sample(record: SampleRecord) -> Answer:
    head, tail = record.prompt_head, record.prompt_tail
    return Answer(record.id, f"{head}\n[...]\n{tail}", record.reply)


def _from_lines(store: Store, path: str) -> list[Answer]:
    try:
        text = store.read_bytes(path).decode("utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; give a .jsonl or .parquet file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is no text in UTF-8; give a .jsonl or .parquet file") from None
    lines = enumerate(text.splitlines(), start=1)
    return [_from_line(f"{path}:{number}", line) for number, line in lines if line.strip()]


def _from_line(where: str, line: str) -> Answer:
    try:
        row: Any = json.loads(line)
    except ValueError:
        raise UserError(
            f'{where}: is no JSON; each line is {{"prompt": ..., "reply": ...}}'
        ) from None
    if not isinstance(row, dict):
        raise UserError(f"{where}: is no JSON object; it needs the keys prompt and reply")
    for key in ("prompt", "reply"):
        if not isinstance(row.get(key), str):
            raise UserError(f"{where}: {key} is missing, or no text; give it as a string")
    return Answer(str(row.get("id") or content_id(row["prompt"])), row["prompt"], row["reply"])
