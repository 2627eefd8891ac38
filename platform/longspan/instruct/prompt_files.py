"""The prompts: text files with named places, ours or those of a user's folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from longspan.errors import UserError
from longspan.hashing import content_id

Style = Literal["normal", "short"]

STYLES: tuple[Style, ...] = ("normal", "short")
OURS = Path(__file__).parent / "prompts"
PLACES = {
    "question_normal": ("chunk",),
    "question_short": ("chunk",),
    "critique": ("chunk", "question", "answer"),
    "example_normal": ("document", "question"),
    "example_short": ("document", "question"),
}
"""Places that each file must have once, in this order: what is long comes first, so that an engine
computes it once for all prompts that begin with it."""
MAX_BYTES = 2**20
"""Of one file: it is part of every prompt."""
_PLACE = re.compile(r"\{(chunk|document|question|answer)\}")


@dataclass(frozen=True)
class Prompts:
    """The five prompts by name."""

    texts: Mapping[str, str]

    @property
    def hash(self) -> str:
        """Of all the texts."""
        return self.hash_of("")

    def hash_of(self, beginning: str) -> str:
        """Of those whose names begin so."""
        return content_id({n: t for n, t in sorted(self.texts.items()) if n.startswith(beginning)})

    def ask(self, style: Style, chunk: str) -> str:
        """What the generator is asked for a question and its answer."""
        return self._filled(f"question_{style}", chunk=chunk)

    def judge(self, chunk: str, question: str, answer: str) -> str:
        """What the generator is asked for its verdict."""
        return self._filled("critique", chunk=chunk, question=question, answer=answer)

    def example(self, style: Style, document: str, question: str) -> str:
        """What the model to be tuned is asked: the user's turn of an example."""
        return self._filled(f"example_{style}", document=document, question=question)

    @property
    def shared_beginning(self) -> bool:
        """Whether all prompts with a chunk are the same up to its end, for prefix caching."""
        names = [name for name, places in PLACES.items() if "chunk" in places]
        return len({self.texts[name].partition("{chunk}")[0] for name in names}) == 1

    def _filled(self, name: str, **values: str) -> str:
        # In one pass: a document may well spell out "{question}".
        return _PLACE.sub(lambda place: values[place[1]], self.texts[name])


def load_prompts(folder: Path | None = None) -> Prompts:
    """The prompts of a folder, ours where it is None; files that a folder lacks are ours.

    Raises:
        UserError: there is no such folder, or a file is too large, lacks a place, repeats or misorders them.
    """
    if folder is not None and not folder.is_dir():
        raise UserError(f"prompts: {str(folder)!r} is no folder")
    texts = {name: _text(folder, name) for name in PLACES}
    if folder is not None and not any((folder / f"{name}.txt").is_file() for name in PLACES):
        names = ", ".join(f"{name}.txt" for name in PLACES)
        raise UserError(f"prompts: {str(folder)!r} holds none of {names}")
    return Prompts(texts)


def _text(folder: Path | None, name: str) -> str:
    path = (folder or OURS) / f"{name}.txt"
    if not path.is_file():
        path = OURS / f"{name}.txt"
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"prompts: {path} has more than {MAX_BYTES:,} bytes; shorten it")
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise UserError(f"prompts: {path} is not UTF-8 text") from None
    found, wanted = tuple(_PLACE.findall(text)), PLACES[name]
    if found != wanted:
        said = ", ".join(f"{{{place}}}" for place in found) or "none"
        right = ", ".join(f"{{{place}}}" for place in wanted)
        raise UserError(
            f"prompts: {path} must have the places {right}, once and in this order; it has {said}"
        )
    return text
