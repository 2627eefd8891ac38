"""What can go wrong in a file system."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from longspan.errors import UserError
from longspan.storage import Store
from longspan.storage.folder import Folder
from longspan.storage.preflight import require_access

WRITE_WITH_LITTLE_ROOM = """
import resource, sys
from longspan.errors import UserError
from longspan.storage import Store
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    Store(sys.argv[1]).write_bytes("x/data", b"new" * 100_000)
except UserError as error:
    print(error)
"""


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write_bytes("x/data", b"old")
    command = [sys.executable, "-c", WRITE_WITH_LITTLE_ROOM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert f"cannot write {tmp_path}/x/data: File too large; make room" in done.stdout
    assert store.read_bytes("x/data") == b"old"
    assert files(tmp_path) == [tmp_path / "x/data"]


def test_an_interrupt_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"old")

    with pytest.raises(KeyboardInterrupt), Folder().replacing(str(path)) as temporary:
        Path(temporary).write_bytes(b"half of the n")
        raise KeyboardInterrupt

    assert path.read_bytes() == b"old"
    assert files(tmp_path) == [path]


def test_what_a_killed_process_left_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / f".longspan-{'0' * 32}.tmp").write_bytes(b"half")

    assert Store(str(tmp_path)).list("") == []


def test_the_root_is_made_if_need_be(tmp_path: Path) -> None:
    require_access(Store(str(tmp_path / "not/yet")))

    assert (tmp_path / "not/yet").is_dir()


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(UserError, match=r"storage\.root: .*/file/store must be a folder"):
        require_access(Store(str(tmp_path / "file/store")))
    with pytest.raises(UserError, match=r"storage\.root: .*/file must be a folder"):
        require_access(Store(str(tmp_path / "file")))


def test_a_root_that_cannot_be_written() -> None:
    with pytest.raises(UserError, match=r"storage\.root: /proc/self must be a folder"):
        require_access(Store("/proc/self"))


def test_links_are_followed_but_not_for_ever(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/x").write_text("x")
    (tmp_path / "real/loop").symlink_to(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")

    assert [item.path for item in Store(str(tmp_path)).list("")] == ["linked/x", "real/x"]


def test_a_relative_root_means_the_same_after_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("here")
    store.write_bytes("x", b"1")
    monkeypatch.chdir("/")

    assert store.read_bytes("x") == b"1"
    assert store.uri("x") == str(tmp_path / "here/x")


def test_modes_are_those_of_any_other_file(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        Store(str(tmp_path)).write_bytes("x", b"1")
    finally:
        os.umask(before)

    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o644


def test_a_root_that_is_made_is_its_owners_and_one_that_exists_is_left_as_it_is(
    tmp_path: Path,
) -> None:
    previous = os.umask(0o022)
    try:
        for name, mode, prepare in (("new", 0o700, False), ("shared", 0o2775, True)):
            root = tmp_path / "above" / name
            if prepare:
                root.mkdir()
                root.chmod(mode)
            Store(str(root)).write_bytes("keys/alice.json", b"{}")
            assert stat.S_IMODE(root.stat().st_mode) == mode
            assert (root / "keys").stat().st_mode & 0o777 == 0o755
        checked = tmp_path / "checked"
        assert list(Store(str(checked)).denied("write", "")) == []
        assert stat.S_IMODE(checked.stat().st_mode) == 0o700
        beside = tmp_path / "checked-beside"
        Store(str(checked)).write_bytes(str(beside / "x"), b"")
        assert stat.S_IMODE(beside.stat().st_mode) == 0o755
    finally:
        os.umask(previous)
