"""Which objects a source's patterns name, and what is said when they name none."""

from pathlib import Path
from typing import Any

import pytest

from longspan.corpus.filters import conditions
from longspan.corpus.repository import RepositoryRule
from longspan.corpus.resolve import resolve
from longspan.corpus.sources import SourceSpec
from longspan.errors import UserError
from longspan.storage import Store
from tests.raw import put


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "store"))
    names = ["books/a.jsonl", "books/b.parquet", "books/_SUCCESS", "books/.hidden.txt"]
    put(store, dict.fromkeys([*names, "books/more/c.txt"], b"x"))
    return store


def paths(store: Store, *patterns: str) -> list[str]:
    return [item.path for item in resolve(store, SourceSpec("books", patterns))]


def test_objects_are_sorted_and_come_once(store: Store) -> None:
    expected = ["books/a.jsonl", "books/b.parquet", "books/more/c.txt"]

    assert paths(store, "books") == expected
    assert paths(store, "books/more/*", "books/b*", "books") == expected
    assert paths(store, "books/.hidden.txt") == ["books/.hidden.txt"]


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [
        ("books/aa.jsonl", "books/a.jsonl"),
        ("book", "books/a.jsonl"),
        ("books/*.csv", "books/"),
        ("bookz/more/c.txt", "books/more/c.txt"),
        ("books/more/deep/c.txt", "books/more/c.txt"),
    ],
)
def test_no_object(store: Store, pattern: str, nearest: str) -> None:
    with pytest.raises(UserError) as raised:
        paths(store, "books", pattern)

    message = str(raised.value)
    assert message.startswith(f"corpora.books.path: '{pattern}' matches no object in {store.root}")
    assert f"the nearest that exists is '{nearest}" in message


def test_no_object_at_an_absolute_path(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        paths(store, f"{store.root}/books/x.jsonl")

    assert f"nearest that exists is '{store.root}/books/a.jsonl'" in str(raised.value)


def test_an_empty_store(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'books' matches no object in .*/nowhere$"):
        paths(Store(str(tmp_path / "nowhere")), "books")


def test_a_format_that_cannot_be_told(store: Store) -> None:
    store.write_bytes("books/x.bin", b"x")

    with pytest.raises(UserError, match=r"'books/x\.bin' does not tell its format"):
        paths(store, "books")


def test_hidden_folders_are_passed_over(store: Store) -> None:
    put(store, {"books/.git/HEAD.txt": b"x", ".own/books/a.txt": b"x"})

    assert paths(store, "books") == ["books/a.jsonl", "books/b.parquet", "books/more/c.txt"]
    assert paths(store, ".own/books") == [".own/books/a.txt"]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"where": conditions({"year": 1})}, "where"),
        ({"repository": RepositoryRule(name="r", path="p")}, "repository"),
    ],
)
def test_texts_have_no_fields(store: Store, change: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=rf"corpora\.books\.{key}: 'books/more/c.txt' is a text"):
        resolve(store, SourceSpec("books", ("books",), **change))
