import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the scripts need, with this environment as its own."""
    place = tmp_path / "checkout"
    (place / "platform" / "longspan").mkdir(parents=True)
    for name in ("tools", "constraints"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("env.sh", "pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, place / name)
    (place / ".venv").symlink_to(sys.prefix)
    return place
