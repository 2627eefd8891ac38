"""A folder outside the package, from which modules are imported."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from longspan.extensions.point import ALLOWED
from tests.extensions.examples import write_modules


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the examples of the documentation, on the path of this process alone."""
    folder = tmp_path / "outside"
    folder.mkdir()
    names = write_modules(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv(ALLOWED, ",".join([*names, "mistaken"]))
    importlib.invalidate_caches()
    yield folder
    for name in [*names, "mistaken"]:
        sys.modules.pop(name, None)
