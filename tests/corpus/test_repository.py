"""The files of a repository as one document: their order, and how they are joined."""

import json
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspan.corpus import units
from longspan.corpus.bad_input import BadInput
from longspan.corpus.filters import LeftOut, conditions
from longspan.corpus.repository import (
    RepositoryRule,
    fixed_folder,
    join,
    reading_order,
    repository_of,
)
from longspan.corpus.resolve import resolve
from longspan.corpus.sources import SourceSpec, read
from longspan.corpus.units import read_unit
from longspan.errors import UserError
from longspan.storage import ObjectInfo, Store
from tests.raw import put

IN_ORDER = [
    "README.md",
    "readme_first.txt",
    "Makefile",
    "setup.py",
    "docs/README.md",
    "docs/use.md",
    "docs/more/deep.md",
    "src/a.py",
    "src/z.py",
    "src/inner/b.py",
]
FOLDERS = SourceSpec("code", ("code",), repository=RepositoryRule(depth=1))
ROWS = SourceSpec("code", ("rows",), repository=RepositoryRule(name="repo", path="file.path"))
FILES = {
    "code/one/README.md": b"One\n",
    "code/one/src/a.py": b"a = 1\n\n\n",
    "code/one/src/__init__.py": b"",
    "code/one/.git/HEAD": b"ref",
    "code/two/.hidden": b"x",
    "code/two/_metadata.py": b"two = 2",
}
ONE = "README.md\nOne\n\nsrc/a.py\na = 1\n"
TWO = "_metadata.py\ntwo = 2\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path))
    put(store, FILES)
    return store


@given(st.permutations(IN_ORDER))
def test_what_introduces_comes_first_and_files_before_folders(paths: list[str]) -> None:
    assert sorted(paths, key=reading_order) == IN_ORDER


NAMES = st.sampled_from(["a", "b", "readme", "z.py"])


@given(st.lists(st.lists(NAMES, min_size=1, max_size=4).map("/".join), unique=True))
def test_the_files_of_a_folder_stay_together(paths: list[str]) -> None:
    """Between two files of a folder, or below it, there is none from elsewhere."""
    found = [
        path for path in sorted(paths, key=reading_order) if "/" in path or path[:6] != "readme"
    ]
    for folder in {path.rsplit("/", 1)[0] + "/" for path in found if "/" in path}:
        inside = [number for number, path in enumerate(found) if path.startswith(folder)]
        assert inside == list(range(inside[0], inside[0] + len(inside)))


def test_files_are_joined_with_their_paths() -> None:
    files = [("src/b.py", "b = 2"), ("a.py", "a = 1\n\n")]
    assert join(files, "# {path}\n") == "# a.py\na = 1\n\n# src/b.py\nb = 2\n"
    assert join(files, "") == "a = 1\n\nb = 2\n"


@pytest.mark.parametrize(
    ("pattern", "path", "depth", "expected"),
    [
        ("code", "code/one/src/a.py", 1, "code/one"),
        ("code/", "code/one/src/a.py", 2, "code/one/src"),
        ("code", "code/one/a.py", 2, None),
        ("code", "code/a.py", 1, None),
        ("code/**/*.py", "code/code/src/a.py", 1, "code/code"),
        ("co*/**", "code/one/a.py", 2, "code/one"),
        ("/data/*/**", "/data/one/a.py", 1, "/data/one"),
        ("s3://bucket", "s3://bucket/one/a.py", 1, "s3://bucket/one"),
    ],
)
def test_folders_name_repositories(
    pattern: str, path: str, depth: int, expected: str | None
) -> None:
    assert repository_of(path, fixed_folder(pattern), depth) == expected


def documents_of(store: Store, unit: ObjectInfo) -> list[str | LeftOut | BadInput]:
    with units.local(store, unit) as copy:
        return list(read_unit(store, unit, FOLDERS, copy))


def test_folders_become_one_document_each(store: Store) -> None:
    found = resolve(store, FOLDERS)
    assert [item.path for item in found] == ["code/one", "code/two"]
    assert found[0].size == len(b"One\n" + b"a = 1\n\n\n")
    assert documents_of(store, found[0]) == [LeftOut("empty file"), ONE]
    assert documents_of(store, found[1]) == [TWO]
    assert [units.from_json(json.loads(json.dumps(units.to_json(each)))) for each in found] == found


@pytest.mark.parametrize(
    "change",
    [{"code/one/src/a.py": b"a = 2"}, {"code/one/new.py": b"new"}, {"code/one/README.md": None}],
    ids=["changed", "added", "removed"],
)
def test_a_repository_s_version_follows_its_files(
    store: Store, change: dict[str, bytes | None]
) -> None:
    before = resolve(store, FOLDERS)
    assert resolve(store, FOLDERS) == before
    for path, data in change.items():
        store.delete(path) if data is None else store.write_bytes(path, data)
    one, two = resolve(store, FOLDERS)
    assert one.version != before[0].version
    assert two == before[1]


def test_an_object_outside_of_all_repositories(store: Store) -> None:
    store.write_bytes("code/NOTES", b"x")
    with pytest.raises(UserError) as raised:
        resolve(store, FOLDERS)
    assert "corpora.code.repository: 'code/NOTES' is in no repository" in str(raised.value)
    assert "'code/*/**'" in str(raised.value)


def test_files_that_are_no_text_are_bad_one_by_one(store: Store) -> None:
    put(store, {"code/two/x.bin": b"a\0b", "code/two/y.txt": b"caf\xe9"})
    *bad, document = documents_of(store, resolve(store, FOLDERS)[1])
    assert document == TWO
    assert [str(item) for item in bad if isinstance(item, BadInput)] == [
        "code/two/x.bin, the whole object: binary (character 1 is zero)",
        "code/two/y.txt, the whole object: not UTF-8 (byte 0xe9 at offset 3)",
    ]


def rows() -> list[dict]:
    """The files of two repositories, in no order."""
    files = [
        {"repo": repo, "file": {"path": path, "size": number}, "text": f"{repo} {path}\n"}
        for repo in ("one", "two")
        for number, path in enumerate(IN_ORDER)
    ]
    Random(1).shuffle(files)
    return files


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_rows_become_one_document_for_each_repository(store: Store, suffix: str) -> None:
    path, files = f"rows/x{suffix}", rows()
    write_rows(store, path, files)

    def expected(repo: str, paths: list[str]) -> str:
        return "\n\n".join(f"{path}\n{repo} {path}" for path in paths) + "\n"

    names = list(dict.fromkeys(file["repo"] for file in files))
    assert list(read(store, path, ROWS)) == [expected(name, IN_ORDER) for name in names]
    where = conditions({"repo": "two", "file.size": {"max": 2}})
    few = SourceSpec("code", ("rows",), where=where, repository=ROWS.repository)
    left_out, document = read(store, path, few)
    assert left_out == LeftOut("filtered out", 17)
    assert document == expected("two", IN_ORDER[:3])


def test_rows_without_their_repository(store: Store) -> None:
    good = {"repo": "one", "file": {"path": "a"}, "text": "A"}
    lines = [good, {"repo": None, "file": {"path": "b"}, "text": "B"}, {"repo": "x", "text": "C"}]
    write_rows(store, "rows/x.jsonl", lines)
    *bad, document = read(store, "rows/x.jsonl", ROWS)
    assert document == "a\nA\n"
    assert [str(item) for item in bad] == [
        "rows/x.jsonl, line 2: repository field is no text ('repo' is None)",
        "rows/x.jsonl, line 3: no repository field ('file.path' is not among its fields: "
        "'repo', 'text')",
    ]
    write_rows(store, "rows/x.parquet", [{"repo": "x", "text": "C"}])
    (bad,) = read(store, "rows/x.parquet", ROWS)
    assert "the whole object: no repository field ('file.path' is not among" in str(bad)


def write_rows(store: Store, path: str, files: list[dict]) -> None:
    sink = pa.BufferOutputStream()
    if path.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(files), sink)
    else:
        sink.write("".join(json.dumps(file) + "\n" for file in files).encode())
    store.write_bytes(path, sink.getvalue())
