"""`status` prints what Ray Serve reports, whoever deployed it, and the recorded versions."""

from pathlib import Path
from typing import Any

import pytest

from longspan.serve.__main__ import main
from longspan.serve.deploy import Serving
from longspan.serve.gateway.keys import FOLDER as KEYS
from longspan.serve.schema import ServeSettings
from longspan.serve.status import file_note, status_lines
from longspan.serve.versions import Versions
from longspan.storage import Store

ROOT = Path(__file__).parents[2]


def serving(is_good: bool = True, **args: Any) -> Serving:
    application = {"args": args} if args else None
    return Serving([application] if application else [], application, is_good)


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    found = Versions(Store(str(tmp_path)), print)
    for model in "ab":
        found.end(found.begin(ServeSettings(model=model)), "served")
    return found


def now(found: Serving | str, versions: Versions) -> str:
    return next(iter(status_lines(found, versions.all(), "folder")))


def test_what_is_served_is_named_with_its_version(versions: Versions) -> None:
    assert now(serving(model="b"), versions) == "serving now: b (version 2)"
    assert now(serving(model="a"), versions) == "serving now: a (version 1)"
    assert now(serving(model="b", is_good=False), versions) == (
        "serving now: b (version 2, not up yet)"
    )
    stores = {"storage": {"root": "s3://elsewhere"}}
    assert now(serving(model="b", **stores), versions) == "serving now: b (version 2)"
    assert now(serving(), versions) == "serving now: nothing of ours on this cluster"


def test_what_another_command_deployed_is_not_taken_for_the_newest_record(
    versions: Versions,
) -> None:
    sample = serving(model="sample")
    assert now(sample, versions).startswith("serving now: sample (no recorded version")
    assert sample.settings is not None
    # Gone back to is what the newest record says, which the other one replaced.
    assert versions.before(running=sample.settings).model == "b"
    assert versions.before(running=ServeSettings(model="b")).model == "a"
    assert versions.before(1, sample.settings).model == "a"


def test_a_store_without_records_says_so(tmp_path: Path) -> None:
    lines = list(status_lines(serving(), [], "the/folder"))
    assert lines[1].startswith("no versions are recorded in the/folder")


def test_a_store_without_keys_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "list", "--store", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"no keys in {tmp_path}/{KEYS}; make one: ")


def test_a_config_file_with_another_model_is_pointed_out() -> None:
    config = ROOT / "serving" / "chat.yaml"
    note = file_note(config, ["model=runs/a/model"])
    assert note is not None
    assert "`serve deploy" in note and "write model: runs/a/model into the file" in note
    assert file_note(config, ["replicas.max=2"]) is None
