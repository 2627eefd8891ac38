"""Config files, overrides, and who reaches what they start."""

import shutil
from pathlib import Path

import pytest
import yaml

from longspan.errors import UserError
from longspan.serve.__main__ import main
from longspan.serve.capacity import max_waiting
from longspan.serve.config import load_config, of_data
from longspan.serve.deploy import warnings
from longspan.serve.exposure import exposure, without_token
from longspan.serve.model import inspect_served_model
from longspan.serve.schema import ServeSettings
from longspan.storage import Store
from tests.serve.clusters import no_cluster

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    config = yaml.safe_load((ROOT / "serving" / "chat.yaml").read_text())
    args = {"model": "runs/a/model", "storage": {"root": str(tmp_path / "store")}}
    config["applications"][0]["args"] = args
    path = tmp_path / "chat.yaml"
    path.write_text(yaml.safe_dump(config))
    model = tmp_path / "store" / "runs" / "a" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    return path


def test_the_config_that_we_ship_is_valid() -> None:
    config = load_config(ROOT / "serving" / "chat.yaml")
    assert config.address == "http://127.0.0.1:8000"
    assert config.data["http_options"]["host"] == "127.0.0.1"


def test_paths_become_absolute_as_rays_processes_run_elsewhere(path: Path) -> None:
    config = load_config(path, ["replicas.max=2"])
    args = config.data["applications"][0]["args"]
    assert args["model"] == f"{path.parent}/store/runs/a/model"
    assert args["replicas"] == {"max": 2}
    assert args["storage"]["root"] == f"{path.parent}/store"
    assert load_config(path).settings.replicas.max == 1


def test_another_model_in_the_same_folder_is_another_version(path: Path) -> None:
    before = load_config(path)
    assert load_config(path).data == before.data
    model = path.parent / "store" / "runs" / "a" / "model"
    (model / "config.json").write_text("{ }")
    assert load_config(path).data != before.data
    (model / "model.safetensors").touch()
    with pytest.raises(UserError, match="holds another model than when this version was deployed"):
        inspect_served_model(of_data(before.data).settings)


def test_an_unknown_key_is_answered_with_the_nearest(path: Path) -> None:
    with pytest.raises(
        UserError, match=r"replicas\.maximum: unknown key; the nearest .* replicas\.max"
    ):
        load_config(path, ["replicas.maximum=2"])


def test_a_file_without_our_application_is_refused(path: Path) -> None:
    path.write_text("applications: []")
    with pytest.raises(
        UserError, match=r"import_path longspan\.serve\.app:build is expected, not 0"
    ):
        load_config(path)


def test_a_folder_is_no_place_for_the_keys_of_several_nodes(tmp_path: Path) -> None:
    folder, bucket = Store(str(tmp_path)), Store("s3://bucket/longspan")
    assert "storage.root" in "".join(warnings(folder, 2))
    assert not [*warnings(folder, 1), *warnings(bucket, 2)]


def test_keys_and_versions_need_no_model(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longspan.serve.deploy.connected", no_cluster)
    shutil.rmtree(path.parent / "store" / "runs")
    where = ["--config", str(path)]
    assert main(["keys", "add", "alice", *where]) == 0
    assert main(["keys", "list", *where]) == 0
    assert "alice" in capsys.readouterr().out
    assert main(["status", *where]) == 0
    assert main(["rollback", *where]) == 2
    assert "versions that have served: none" in capsys.readouterr().err


@pytest.mark.parametrize("http", [None, {}, {"port": 8001}])
def test_a_config_without_a_host_listens_on_loopback(path: Path, http: dict | None) -> None:
    """Serve itself takes 0.0.0.0 for such a file."""
    data = yaml.safe_load(path.read_text()) | {"http_options": http}
    path.write_text(yaml.safe_dump(data))
    config = load_config(path)
    assert config.data["http_options"]["host"] == "127.0.0.1"
    assert not [*exposure(config, 1024)]


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.5", "203.0.113.7", "head", "2001:db8::1"]
)
def test_a_host_that_other_machines_reach_is_warned_of(path: Path, host: str) -> None:
    data = yaml.safe_load(path.read_text()) | {"http_options": {"host": host}}
    path.write_text(yaml.safe_dump(data))
    (line,) = exposure(load_config(path), 131072)
    for named in (host, "4.0 MiB", "32.0 MiB", "x-request-timeout-seconds", "docs/serving.md"):
        assert named in line
    assert "x-request-disconnect-disabled" in line
    _, strangers = exposure(load_config(path, ["replicas.min=0"]), 131072)
    assert "with a key or without, starts a replica" in strangers


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_loopback_is_no_reason_to_warn(path: Path, host: str) -> None:
    data = yaml.safe_load(path.read_text()) | {"http_options": {"host": host}}
    path.write_text(yaml.safe_dump(data))
    assert not [*exposure(load_config(path, ["replicas.min=0"]), 131072)]


def test_a_cluster_without_a_token_is_warned_of() -> None:
    (line,) = without_token({})
    assert "run code for whoever reaches them" in line
    assert not [*without_token({"RAY_AUTH_MODE": "token"})]


@pytest.mark.parametrize(
    ("window", "limits", "waiting"),
    [
        (8192, {}, 320),  # as many as a replica takes: 320 MiB
        (131072, {}, 256),  # 4 MiB each: 1 GiB
        (1048576, {}, 64),  # 32 MiB each: no fewer than a burst has
        (8192, {"max_body_bytes": 2**23}, 128),
        (8192, {"max_requests": 16}, 80),
    ],
)
def test_what_waits_in_serves_proxy_is_bounded_by_its_memory(
    window: int, limits: dict[str, int], waiting: int
) -> None:
    settings = ServeSettings.model_validate({"model": "m", "limits": limits})
    assert max_waiting(settings, window) == waiting
