"""How classes of extensions are named, found and refused."""

import importlib
from pathlib import Path

import pytest

from longspan.errors import UserError
from longspan.extensions.options import validated
from longspan.extensions.point import ALLOWED
from longspan.extensions.points import (
    CALLBACKS,
    CORPUS_FORMATS,
    POSITION_ENCODINGS,
    TRACKERS,
)
from tests.extensions.examples import install

MISTAKEN = """
from longspan.model.encodings import PositionEncoding

class Silent:
    def log(self): ...
    def close(self): ...

class Unfinished:
    def log(self, record): ...

class Empty(PositionEncoding): ...

class Dialled(PositionEncoding):
    def __init__(self, factor): ...
    def rope_parameters(self, base, factor, original_window): ...

class Typed:
    requires = ("no_such_package",)
    def __init__(self, run, every: int = 1, *, path): ...
    def log(self, record): ...
    def close(self): ...

class Loose:
    def __init__(self, **anything): ...

instance = Unfinished()
"""


@pytest.fixture
def mistaken(outside: Path) -> str:
    (outside / "mistaken.py").write_text(MISTAKEN)
    (outside / "broken.py").write_text("import no_such_library\n")
    return "mistaken"


@pytest.mark.parametrize(
    ("point", "name", "said"),
    [
        (TRACKERS, "no_module:Tracker", "module no_module cannot be imported (ModuleNotFoundError"),
        (TRACKERS, "broken:Tracker", "module broken cannot be imported (ModuleNotFoundError: No m"),
        (TRACKERS, "mistaken:Unfinishd", "has no class Unfinishd; the nearest name is Unfinished"),
        (TRACKERS, "mistaken:instance", "is a Unfinished, not a class"),
        (TRACKERS, "mistaken:Unfinished", "has no method close(), which each tracker needs"),
        (TRACKERS, "mistaken:Silent", "Silent.log cannot be called as log(record); its parameters"),
        (TRACKERS, "mistaken:Typed", "needs the package no_such_package, which is not installed"),
        (TRACKERS, "wandbb", "unknown tracker 'wandbb'; the nearest is 'wandb'"),
        (CALLBACKS, "mistaken:Silent", "is not a callback: derive the class from longspan.train.c"),
        (CORPUS_FORMATS, "mistaken:Silent", "derive the class from longspan.corpus.format.Corpus"),
        (POSITION_ENCODINGS, "mistaken:Empty", "has no method rope_parameters(base, factor, orig"),
        (POSITION_ENCODINGS, "mistaken:Dialled", "a position encoding takes no options"),
    ],
    ids=lambda value: value if isinstance(value, str) and ":" in value else "",
)
def test_a_class_that_cannot_be_used_is_refused_with_the_reason(
    mistaken: str, point, name: str, said: str
) -> None:
    with pytest.raises(UserError) as refused:
        point.load(name, "some.key")
    assert str(refused.value).startswith("some.key: ")
    assert said in str(refused.value)


def test_code_that_a_recipe_names_runs_only_if_whoever_runs_the_job_allows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(ALLOWED, raising=False)
    for name in ("wandb", "an-installed-one"):
        TRACKERS.require_allowed(name, "trackers")
    with pytest.raises(UserError) as refused:
        TRACKERS.require_allowed("my.own:Tracker", "trackers")
    assert "trackers: the recipe names code (my.own:Tracker), which runs only" in str(refused.value)
    assert f"set {ALLOWED}=my in the environment of the job's driver" in str(refused.value)
    monkeypatch.setenv(ALLOWED, "own, my.own2")
    with pytest.raises(UserError):
        TRACKERS.require_allowed("my.own:Tracker", "trackers")
    for allowed in ("other, my", "my.own"):
        monkeypatch.setenv(ALLOWED, allowed)
        TRACKERS.require_allowed("my.own:Tracker", "trackers")


def test_an_installed_package_declares_names(outside: Path) -> None:
    install(outside, CALLBACKS.group, "norm", "my_callback:ParameterNorm")
    assert CALLBACKS.require_name("norm") == "norm"
    assert CALLBACKS.load("norm", "callbacks.norm").__name__ == "ParameterNorm"
    install(outside, TRACKERS.group, "wandb", "my_tracker:CsvTracker")
    assert TRACKERS.load("tensorboard", "trackers").__module__.startswith("longspan.")
    with pytest.raises(UserError, match="unknown callback 'nor'; the nearest is 'norm'"):
        CALLBACKS.load("nor", "callbacks")


def test_two_packages_that_declare_one_name_are_not_guessed_between(outside: Path) -> None:
    install(outside, CALLBACKS.group, "norm", "my_callback:ParameterNorm")
    other = outside / "other-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text(f"[{CALLBACKS.group}]\nnorm = other:Norm\n")
    with pytest.raises(UserError, match="several installed packages declare a callback 'norm'"):
        CALLBACKS.load("norm", "callbacks.norm")


def test_options_are_the_parameters_of_the_constructor(outside: Path, mistaken: str) -> None:
    tracker = TRACKERS.load("my_tracker:CsvTracker", "trackers")
    assert validated(tracker, {"path": "/x"}, "o", given=1) == {"path": Path("/x"), "every": 1}
    with pytest.raises(UserError) as refused:
        validated(tracker, {"every": "often", "color": 1}, "o", given=1)
    assert str(refused.value).splitlines() == [
        "o.path: required, but not set",
        "o.every: must be a valid integer, unable to parse string as an integer, but is 'often'",
        "o.color: unknown option; options are path, every",
    ]
    classes = vars(importlib.import_module(mistaken))
    with pytest.raises(UserError, match="has no type for path; annotate it"):
        validated(classes["Typed"], {}, "o", given=1)
    with pytest.raises(UserError, match="has no names; list its options"):
        validated(classes["Loose"], {}, "o")
    with pytest.raises(UserError, match=r"o\.a: unknown option; it takes no options"):
        validated(classes["Silent"], {"a": 1}, "o")
