"""Config files, overrides, and the versions that were deployed."""

import shutil
from pathlib import Path

import pytest
import yaml

from longspan.errors import UserError
from longspan.serve.__main__ import main
from longspan.serve.config import BUILDER, environment, load_config, of_data, with_environment
from longspan.serve.deploy import warnings
from longspan.serve.model import look_at
from longspan.serve.versions import State, Versions
from longspan.storage import Store

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
        look_at(of_data(before.data).settings)


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


def test_variables_of_the_environment_go_to_ray_and_not_into_the_record(path: Path) -> None:
    data = yaml.safe_load(path.read_text())
    # Ours need not be the first application.
    data["applications"].insert(0, {"name": "other", "import_path": "other:app"})
    data["applications"][1]["runtime_env"] = {"env_vars": {"HF_TOKEN": "hf_secret"}}
    path.write_text(yaml.safe_dump(data))
    config = load_config(path)
    assert environment(config.data) == {"HF_TOKEN": "hf_secret"}
    store = Store(str(path.parent / "store"))
    version = Versions(store).begin(config.data)
    assert b"hf_secret" not in store.read_bytes("serving/versions/0001.yaml")
    (kept,) = Versions(store).all()
    assert kept.model == version.model == f"{path.parent}/store/runs/a/model"
    assert with_environment(kept.config, environment(config.data)) == config.data


def test_a_folder_is_no_place_for_the_keys_of_several_nodes(tmp_path: Path) -> None:
    folder, bucket = Store(str(tmp_path)), Store("s3://bucket/longspan")
    assert "storage.root" in "".join(warnings(folder, 2))
    assert not [*warnings(folder, 1), *warnings(bucket, 2)]


def test_keys_and_versions_need_no_model(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(path.parent / "store" / "runs")
    where = ["--config", str(path)]
    assert main(["keys", "add", "alice", *where]) == 0
    assert main(["keys", "list", *where]) == 0
    assert "alice" in capsys.readouterr().out
    assert main(["status", *where]) == 0
    assert main(["rollback", *where]) == 2
    assert "versions that have served: none" in capsys.readouterr().err


def test_a_rollback_goes_to_the_good_version_before(tmp_path: Path) -> None:
    versions = Versions(Store(str(tmp_path)))
    with pytest.raises(UserError, match=r"no other good version; versions that have served: none"):
        versions.before()

    def deployed(model: str, state: State, restores: int | None = None) -> None:
        config = {"applications": [{"import_path": BUILDER, "args": {"model": model}}]}
        versions.end(versions.begin(config, restores), state)

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
