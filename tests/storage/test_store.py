"""What folders and S3 have in common; every test here runs on both."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longspan.errors import UserError
from longspan.storage import Store
from longspan.storage.preflight import require_access


def names(store: Store, pattern: str) -> list[str]:
    return [item.path for item in store.list(pattern)]


@pytest.fixture
def tree(store: Store) -> Store:
    for name in ("a.txt", "c/1.txt", "c/2.json", "c/d/3.txt", "c/d/.h/4.txt", "cc/5.txt"):
        store.write_bytes(name, name.encode())
    return store


def test_what_is_written_is_read(store: Store) -> None:
    store.write_bytes("deep/er/x.bin", b"0123456789")

    assert store.read_bytes("deep/er/x.bin") == b"0123456789"
    assert store.read_bytes("deep/er/x.bin", 3, 4) == b"3456"
    assert store.read_bytes("deep/er/x.bin", 8) == b"89"
    assert store.read_bytes("deep/er/x.bin", 8, 100) == b"89"
    assert store.read_bytes("deep/er/x.bin", 20, 1) == b""
    assert store.read_bytes(store.uri("deep/er/x.bin")) == b"0123456789"
    with store.open("deep/er/x.bin") as file:
        assert file.read_at(2, 5) == b"56"


def test_an_object_may_be_empty_or_large(store: Store) -> None:
    large = bytes(range(256)) * (17 * 4096)  # 17 MiB: several parts.
    store.write_bytes("empty", b"")
    store.write_bytes("large", pa.py_buffer(large))

    assert store.read_bytes("empty") == b""
    assert store.read_bytes("large") == large
    assert [item.size for item in store.list("*")] == [0, len(large)]


def test_of_several_that_write_a_new_object_one_succeeds(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda n: store.write_new("a/b", b"%d" % n), range(8)))
    assert sorted(written) == [False] * 7 + [True]
    assert store.read_bytes("a/b") == b"%d" % written.index(True)


def test_an_object_that_is_not_there(store: Store) -> None:
    store.write_bytes("there", b"x")

    with pytest.raises(FileNotFoundError, match="missing"):
        store.read_bytes("missing")
    with pytest.raises(FileNotFoundError, match="missing"):
        store.open("missing")


def test_a_store_travels_to_other_processes(store: Store) -> None:
    store.write_bytes("x", b"1")

    assert pickle.loads(pickle.dumps(store)).read_bytes("x") == b"1"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.txt", ["a.txt"]),
        ("c", ["c/1.txt", "c/2.json", "c/d/.h/4.txt", "c/d/3.txt"]),
        ("c/", ["c/1.txt", "c/2.json", "c/d/.h/4.txt", "c/d/3.txt"]),
        ("c/d", ["c/d/.h/4.txt", "c/d/3.txt"]),
        ("c/*", ["c/1.txt", "c/2.json"]),
        ("*/*.txt", ["c/1.txt", "cc/5.txt"]),
        ("c/?.txt", ["c/1.txt"]),
        ("**/*.txt", ["a.txt", "c/1.txt", "c/d/3.txt", "cc/5.txt"]),
        ("c/**", ["c/1.txt", "c/2.json", "c/d/3.txt"]),
        ("c*/**/3.txt", ["c/d/3.txt"]),
        ("c/d/.h/*", ["c/d/.h/4.txt"]),
        ("nothing", []),
        ("nothing/*", []),
        ("a", []),
        ("a.txt/x", []),
    ],
)
def test_list(tree: Store, pattern: str, expected: list[str]) -> None:
    assert names(tree, pattern) == expected


def test_list_writes_paths_as_the_pattern_is_written(tree: Store) -> None:
    for pattern in ("c/*.txt", tree.uri("c/*.txt")):
        (found,) = tree.list(pattern)
        assert found.path == pattern.replace("*", "1")
        assert tree.read_bytes(found.path) == b"c/1.txt"


def test_list_everything_or_not_so_much(tree: Store) -> None:
    assert len(tree.list("")) == 6
    assert len(tree.list("", limit=2)) == 2


def test_the_version_changes_with_the_object(store: Store) -> None:
    store.write_bytes("x", b"1")
    (before,) = store.list("x")
    (same,) = store.list("x")
    store.write_bytes("x", b"2")
    (after,) = store.list("x")

    assert before == same
    assert before.version != after.version


def test_exists(tree: Store) -> None:
    assert tree.exists("c/1.txt")
    assert tree.exists("c")
    assert tree.exists("c/")
    assert tree.exists("")
    assert not tree.exists("c/1")
    assert not tree.exists("c/e")


def test_delete_takes_an_object_or_what_is_below(tree: Store) -> None:
    tree.delete("c")
    tree.delete("a.txt")
    tree.delete("never/was/there")

    assert names(tree, "") == ["cc/5.txt"]
    assert not tree.exists("c")


def test_a_whole_store_is_not_deleted(tree: Store) -> None:
    root = Store("/") if tree.root.startswith("/") else Store("s3://some-bucket")

    with pytest.raises(AssertionError, match="refusing"):
        root.delete("")


def test_folders_go_up_and_come_back(store: Store, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    content = {"one": b"1", "sub/.metadata": b"m" * 100_000, "sub/two": b""}
    for name, data in content.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)

    store.upload(source, "models/m")
    store.download("models/m", target)

    found = {
        str(path.relative_to(target)): path.read_bytes()
        for path in target.rglob("*")
        if path.is_file()
    }
    assert found == content


def test_download_of_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing below"):
        store.download("no/model", tmp_path)


def test_upload_of_what_is_no_folder(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder"):
        store.upload(tmp_path / "missing", "x")


def test_readers_see_one_version_or_the_other(store: Store) -> None:
    versions = [bytes([value]) * 300_000 for value in (1, 2)]
    store.write_bytes("x", versions[0])
    seen = []

    def write() -> None:
        for turn in range(20):
            store.write_bytes("x", versions[turn % 2])

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        seen.append(store.read_bytes("x"))
    writer.join()

    assert all(data in versions for data in seen)


def test_arrow_reads_and_writes_below_the_same_root(store: Store) -> None:
    require_access(store)
    filesystem, path = store.filesystem_and_path("t/x.parquet")
    filesystem.create_dir(path.rsplit("/", 1)[0])
    filesystem = pickle.loads(pickle.dumps(filesystem))
    pq.write_table(pa.table({"n": [1, 2, 3]}), path, filesystem=filesystem)

    assert names(store, "t/*") == ["t/x.parquet"]
    with filesystem.open_input_stream(path) as stream:
        assert stream.read() == store.read_bytes("t/x.parquet")
    with filesystem.open_output_stream(f"{path}.empty"):
        pass
    assert store.read_bytes("t/x.parquet.empty") == b""
    assert pq.read_table(store.open("t/x.parquet")).column("n").to_pylist() == [1, 2, 3]


def test_preflight_leaves_nothing(store: Store) -> None:
    require_access(store)
    require_access(store)

    assert store.list("") == []
