"""No path leads out of a store, whoever chose it: a recipe, a stored record, or the key of an object in a bucket."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from longspan.errors import UserError
from longspan.storage import ObjectInfo, Store
from longspan.storage.folder import Folder
from longspan.storage.paths import ForeignPath, stored_path

ACTIONS: list[Callable[[Store, str], Any]] = [
    lambda store, path: store.read_bytes(path),
    lambda store, path: store.write_bytes(path, b"x"),
    lambda store, path: store.delete(path),
    lambda store, path: store.exists(path),
    lambda store, path: store.list(path),
    lambda store, path: store.list(f"{path}/*.json"),
    lambda store, path: store.local(path),
    lambda store, path: store.download(path, "unused"),
    lambda store, path: store.uri(path),
]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("root", ["folder", "s3://bucket/prefix"])
def test_a_path_with_two_dots_is_refused(
    tmp_path: Path, root: str, action: Callable[[Store, str], Any]
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.json").write_text("kept")
    store = Store(str(tmp_path / "store") if root == "folder" else root)
    for path in ("../secret/a.json", "runs/../../secret/a.json", "s3://bucket/a/../b", ".."):
        with pytest.raises(UserError, match=r"component '\.\.', which leads out of storage\.root"):
            action(store, path)
    assert (tmp_path / "secret" / "a.json").read_text() == "kept"


def test_names_with_dots_are_names(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write_bytes("a..b/..c/d...json", b"x")
    assert [item.path for item in store.list("a..b")] == ["a..b/..c/d...json"]
    assert store.read_bytes(f"{tmp_path}/elsewhere/../a..b/..c/d...json") == b"x"


class AnyKey(Folder):
    """A bucket takes any text as a key; this one holds some, each with the same content."""

    def __init__(self, *keys: str) -> None:
        super().__init__()
        self._keys = keys

    def uri(self, key: str) -> str:
        return f"s3://bucket/{key}"

    def walk(self, prefix: str, depth: int | None = None) -> Iterator[ObjectInfo]:
        yield from (ObjectInfo(key, 7, "v") for key in self._keys if key.startswith(prefix))

    def fetch(self, key: str, file: BinaryIO, version: str | None) -> bool:
        file.write(b"planted")
        return True


def bucket(*keys: str) -> Store:
    store = Store("s3://bucket/p", endpoint="http://127.0.0.1:1")
    store._backends["bucket"] = AnyKey(*keys)
    return store


@pytest.mark.parametrize(
    "name", ["../../../home/config.json", "/{0}/config.json", "a/../../b.json"]
)
def test_a_key_of_a_bucket_is_never_a_file_elsewhere(tmp_path: Path, name: str) -> None:
    planted = f"p/runs/a/model/{name.format(tmp_path / 'home')}"
    (tmp_path / "home").mkdir()
    store = bucket("p/runs/a/model/config.json", planted)
    cache = tmp_path / "cache" / "models" / "a"
    with pytest.raises(UserError, match="in its key, which as a path leads elsewhere"):
        store.download("runs/a/model", cache)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_listing_never_names_a_file_of_this_machine(tmp_path: Path) -> None:
    """A path that begins with a slash is one of the file system, in whatever store it is read."""
    (tmp_path / "secret.json").write_text("{}")
    with pytest.raises(UserError, match="as a path leads elsewhere; delete that object"):
        bucket(f"p/{tmp_path}/secret.json").list("")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "s3://other/shards/a",
        "shards/../keys/a.json",
        "shards/a/../../keys/a.json",
        "shards//a",
        "shards/./a",
        "shards/a/",
        "keys/a.json",
        "shards",
        "shardsandmore/a",
        "",
        "shards/a\0b",
        None,
        ["shards/a"],
    ],
)
def test_a_record_names_objects_of_its_own_folder_alone(path: object) -> None:
    with pytest.raises(ForeignPath):
        stored_path(path, "shards")


def test_a_record_names_objects_of_its_own_folder() -> None:
    assert stored_path("shards/books/a-1/train-0.parquet", "shards").endswith("train-0.parquet")
