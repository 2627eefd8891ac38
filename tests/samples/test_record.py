import hashlib
from pathlib import Path

import pytest

from longspan.errors import UserError
from longspan.samples import download
from longspan.samples.download import Package, fetch
from longspan.samples.record import Contents, ensure


class Builder:
    """Writes one file and counts how often it was asked to."""

    def __init__(self, text: str = "whole"):
        self.text, self.calls = text, 0

    def __call__(self, folder):
        self.calls += 1
        (folder / "a").write_text(self.text)
        return Contents(documents=1, characters=len(self.text))


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "store" / "x", tmp_path / "records"


def test_a_whole_folder_is_not_built_again(place: tuple[Path, Path]):
    builder = Builder()
    first, built = ensure(*place, "v1", builder)
    again, built_again = ensure(*place, "v1", builder)
    assert (built, built_again, builder.calls) == (True, False, 1)
    assert again == first
    assert again.files == {"a": 5}


@pytest.mark.parametrize("damage", ["other source", "file gone", "file cut", "record gone"])
def test_it_is_built_again_when_something_is_not_as_recorded(place: tuple[Path, Path], damage):
    folder, records = place
    ensure(*place, "v1", Builder())
    if damage == "file gone":
        (folder / "a").unlink()
    elif damage == "file cut":
        (folder / "a").write_text("who")
    elif damage == "record gone":
        (records / "x.json").write_text("{")
    _, built = ensure(*place, "v2" if damage == "other source" else "v1", Builder())
    assert built
    assert (folder / "a").read_text() == "whole"


def test_a_build_that_fails_leaves_what_was_there_and_nothing_half_done(place: tuple[Path, Path]):
    folder, _ = place

    def interrupted(unfinished):
        (unfinished / "a").write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure(*place, "v1", interrupted)
    assert not folder.exists()
    ensure(*place, "v1", Builder("old"))
    with pytest.raises(KeyboardInterrupt):
        ensure(*place, "v2", interrupted)
    assert (folder / "a").read_text() == "old"
    ensure(*place, "v2", Builder("new"))
    assert [path.name for path in folder.iterdir()] == ["a"]


def package(content: bytes) -> Package:
    return Package("nothing-of-that-name", "0", "x.whl", hashlib.sha256(content).hexdigest(), 1)


def test_a_file_that_is_there_and_whole_is_not_fetched(tmp_path):
    (tmp_path / "x.whl").write_bytes(b"content")
    assert fetch(package(b"content"), tmp_path) == tmp_path / "x.whl"


def test_a_damaged_file_is_fetched_again_and_trouble_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # pip asks no network
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    (tmp_path / "x.whl").write_bytes(b"conte")
    with pytest.raises(UserError, match=r"could not fetch x\.whl"):
        fetch(package(b"content"), tmp_path)
    assert download.sha256(tmp_path / "x.whl") == hashlib.sha256(b"conte").hexdigest()
