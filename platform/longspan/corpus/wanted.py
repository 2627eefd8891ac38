"""What is wanted of an object's rows: the texts of those that pass a filter, or files of repositories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from longspan.corpus.bad_input import BadInput, no_field, not_text, without_field
from longspan.corpus.filters import ABSENT, Filter, Row, field_path, value_at


@dataclass(frozen=True)
class File:
    """A file of a repository: one row of a corpus, or one object.

    Attributes:
        repository: the repository's name.
        path: the file's path in it.
        text: what the file holds.
    """

    repository: str
    path: str
    text: str


@dataclass(frozen=True)
class RowSelector:
    """What is wanted of one object's rows.

    Attributes:
        text: the field with the text; dots reach into nested objects.
        filter: passes the rows that are wanted; it has state, so it is of one object.
        file: the fields with a file's repository and path; None where a row is a document.
    """

    text: str
    filter: Filter = field(default_factory=Filter)
    file: tuple[str, str] | None = None

    def of(self, row: Row, text: str, object_path: str, where: str) -> str | File | BadInput:
        """What a row gives that has this text."""
        if self.file is None:
            return text
        found = [_label(row, name, object_path, where) for name in self.file]
        bad = next((each for each in found if isinstance(each, BadInput)), None)
        return bad or File(str(found[0]), str(found[1]), text)

    def text_of(self, row: Row, object_path: str, where: str) -> str | BadInput:
        """A row's text."""
        text = value_at(row, field_path(self.text))
        if text is ABSENT:
            return without_field(object_path, where, self.text, list(row))
        if not isinstance(text, str):
            return not_text(object_path, where, self.text, text)
        return self.checked(text, object_path, where)

    def checked(self, text: str, object_path: str, where: str) -> str | BadInput:
        """A text, if it is one in Unicode."""
        return text if _is_unicode(text) else _half(object_path, where)


def _label(row: Row, name: str, object_path: str, where: str) -> str | BadInput:
    value: Any = value_at(row, field_path(name))
    if value is ABSENT:
        return no_field(object_path, where, "no repository field", name, list(row))
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        return BadInput(
            object_path, where, "repository field is no text", f"{name!r} is {value!r:.40}"
        )
    text = str(value)
    return text if _is_unicode(text) else _half(object_path, where)


def _half(object_path: str, where: str) -> BadInput:
    return BadInput(object_path, where, "not UTF-8", "half of a surrogate pair")


def _is_unicode(text: str) -> bool:
    """JSON can write half of a surrogate pair, which is no character."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def unknown_condition(filter: Filter, object_path: str) -> BadInput | None:
    """What is wrong with an object none of whose rows has a field that is asked for."""
    found = filter.never_met()
    return None if found is None else no_such_field(object_path, *found)


def no_such_field(object_path: str, field: str, near: str | None) -> BadInput:
    """For an object without a field of a filter."""
    hint = f"; the nearest is {near!r}" if near else ""
    detail = f"'where' asks for {field!r}, which none of its rows has{hint}"
    return BadInput(object_path, "the whole object", "no such field", detail)


def missing(names: Sequence[str], known: Sequence[str]) -> str | None:
    """The first of the names that is not among the known ones."""
    return next((name for name in names if name not in known), None)
