"""`make setup` with small packages of this test in package indexes of this test, and the real pip."""

import base64
import hashlib
import importlib.metadata
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

BACKEND = """
import pathlib, shutil
def build_editable(folder, config_settings=None, metadata_directory=None):
    (wheel,) = pathlib.Path(__file__).parent.glob("*.whl")
    return pathlib.Path(shutil.copy(wheel, folder)).name
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def wheel(folder: Path, name: str, version: str, content: str = "") -> str:
    """A wheel with one module; its SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": content,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{key},sha256={_short_hash(text)},{len(text)}\n" for key, text in files.items()
    )
    with zipfile.ZipFile(path, "w") as archive:
        for key, text in files.items():
            archive.writestr(zipfile.ZipInfo(key), text)  # of one date, so the same bytes each time
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), record + f"{info}/RECORD,,\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _short_hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def list_files(index: Path) -> str:
    """The page of each package in a package index; the address of the index."""
    for folder in filter(Path.is_dir, index.iterdir()):
        links = "".join(f'<a href="{path.name}">{path.name}</a>' for path in folder.glob("*.whl"))
        (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
    return index.as_uri()


@pytest.mark.real
def test_only_pinned_files_are_installed_and_the_extra_index_is_asked_for_torch_alone(
    checkout, tmp_path
):
    (checkout / ".venv").unlink()
    (checkout / "pyproject.toml").write_text(PYPROJECT)
    (checkout / "backend.py").write_text(BACKEND)
    wheel(checkout, "longspan", "0")
    public, extra = tmp_path / "public", tmp_path / "extra"
    own = wheel(public / "tiny", "tiny", "1.0", "who = 'the project'")
    torch = wheel(extra / "torch", "torch", "9.9+cpu")
    # A local version is newer than the one without: with --extra-index-url alone, pip takes it.
    wheel(extra / "tiny", "tiny", "1.0+cpu", "who = 'the extra index'")
    setuptools = wheel(public / "setuptools", "setuptools", "77.0.3")
    (checkout / "constraints" / "cpu.txt").write_text(
        f"setuptools==77.0.3 \\\n    --hash=sha256:{setuptools}\n"
        f"tiny==1.0 \\\n    --hash=sha256:{own}\n"
        f"torch==9.9+cpu \\\n    --hash=sha256:{torch}\n"
    )
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHON": os.path.realpath(sys._base_executable),  # type: ignore[attr-defined]
        "PIP_CONFIG_FILE": os.devnull,
        "EXTRA_INDEX": list_files(extra),
    }

    def setup() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["tools/setup.sh"],
            cwd=checkout,
            env=variables | {"PIP_INDEX_URL": list_files(public)},
            capture_output=True,
            text=True,
            check=False,
        )

    wheel(public / "tiny", "tiny", "1.0", "who = 'somebody in between'")
    done = setup()
    assert done.returncode == 1, done.stdout
    assert "sent a file whose SHA-256 is not in constraints/cpu.txt" in done.stderr
    packages = checkout / ".venv" / "lib" / "python3.11" / "site-packages"
    assert not (packages / "tiny.py").exists()

    wheel(public / "tiny", "tiny", "1.0", "who = 'the project'")
    done = setup()
    assert done.returncode == 0, done.stdout + done.stderr
    assert (packages / "tiny.py").read_text() == "who = 'the project'"
    found = {d.name: d.version for d in importlib.metadata.distributions(path=[str(packages)])}
    assert (found["tiny"], found["torch"], found["longspan"]) == ("1.0", "9.9+cpu", "0")

    state = checkout / ".longspan"
    folders = (state, state / "logs", state / "ray")
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    assert setup().stdout == ""
