"""A hub's models are of one commit, on every node and at every start."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from longspan.errors import UserError
from longspan.generate.engine import Engine
from longspan.model.address import model_address
from longspan.model.hub import HubModel, pin
from longspan.model.source import local_model_dir, local_tokenizer_dir, revision
from longspan.serve.config import of_data
from longspan.serve.model import fetch, inspect_served_model
from longspan.storage import Store
from tests.model.hub import Hub, hub_on_loopback, use

NAME = "someone/model"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub without models, and an empty cache."""
    with hub_on_loopback() as hub:
        use(monkeypatch, tmp_path / "hub", hub.url)
        yield hub


def another(model: Path, folder: Path) -> Path:
    """The same model with other settings."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    return folder


def eps(folder: Path) -> float:
    return json.loads((folder / "config.json").read_text())["rms_norm_eps"]


def test_another_node_loads_the_commit_that_was_resolved_though_the_name_has_a_new_one(
    hub: Hub, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path / "store"))
    first = hub.push(NAME, tiny)
    address = model_address(NAME, store)
    assert address == f"{NAME}@{first}"
    assert revision(address, store) == first
    second = hub.push(NAME, another(tiny, tmp_path / "second"))
    use(monkeypatch, tmp_path / "another-node", hub.url)
    folder = local_model_dir(address, store, tmp_path / "cache")
    assert eps(folder) != 0.5
    assert (folder / "model.safetensors").read_bytes() == (tiny / "model.safetensors").read_bytes()
    assert eps(local_tokenizer_dir(address, store, tmp_path / "cache")) != 0.5
    # A new run begins with the new one, unless it names the old one.
    assert model_address(NAME, store) == f"{NAME}@{second}"
    assert model_address(address, store) == address
    assert eps(local_model_dir(f"{NAME}@main", store, tmp_path / "cache")) == 0.5


def test_without_a_network_it_is_the_commit_in_the_cache(
    hub: Hub, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{NAME}@{hub.push(NAME, tiny)}"
    assert pin(NAME) == address
    local_model_dir(address, None, tmp_path / "cache")
    asked = len(hub.requests)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert pin(NAME) == address
    assert (local_model_dir(address, None, tmp_path / "cache") / "model.safetensors").is_file()
    assert pin("someone/unknown") == "someone/unknown"
    assert len(hub.requests) == asked


def test_a_revision_that_is_not_there_is_told(hub: Hub, tiny: Path, tmp_path: Path) -> None:
    hub.push(NAME, tiny)
    assert pin(f"{NAME}@v9") == f"{NAME}@v9"
    with pytest.raises(UserError, match=r"'someone/model@v9'.*no revision 'v9' of it"):
        local_model_dir(f"{NAME}@v9", None, tmp_path)
    with pytest.raises(UserError, match=r"the hub has no such model"):
        local_model_dir("someone/else", None, tmp_path)
    hub.gated.add(NAME)
    with pytest.raises(UserError, match=r"behind an agreement"):
        local_model_dir(NAME, None, tmp_path)


def test_a_model_that_the_disk_has_no_room_for_is_not_begun(
    hub: Hub, tiny: Path, tmp_path: Path
) -> None:
    hub.push(NAME, tiny)
    hub.sizes["model.safetensors"] = 2**60
    said = r"fetching someone/model takes 1,152,\S+ bytes, .* free; delete something .*HF_HOME"
    with pytest.raises(UserError, match=said):
        local_model_dir(NAME, None, tmp_path)
    fetched = [request for request in hub.requests if request.startswith("GET /someone")]
    assert fetched == []


def test_a_replica_that_starts_later_serves_the_commit_that_was_deployed(
    hub: Hub, tiny: Path, tmp_path: Path
) -> None:
    first = hub.push(NAME, tiny)
    data = {
        "applications": [
            {
                "name": "chat",
                "route_prefix": "/",
                "import_path": "longspan.serve.app:build",
                "args": {"model": NAME, "storage": {"root": str(tmp_path / "store")}},
            }
        ]
    }
    deployed = of_data(data).settings
    assert (deployed.model, deployed.revision) == (f"{NAME}@{first}", first)
    hub.push(NAME, another(tiny, tmp_path / "second"))
    for settings in (deployed, deployed.model_copy(update={"model": NAME})):
        model = inspect_served_model(settings)
        assert (model.address, model.name) == (f"{NAME}@{first}", "someone")
        assert eps(fetch(model.address, settings)) != 0.5
    asked = deployed.model_copy(update={"model": f"{NAME}@main"})
    with pytest.raises(UserError, match=r"another model than when this version was deployed"):
        inspect_served_model(asked)


def test_engines_of_self_instruct_fetch_that_commit_and_no_pickle() -> None:
    commit = "0" * 40
    arguments = Engine(f"{NAME}@{commit}", 512, gpu=True).engine_kwargs()
    assert arguments["revision"] == arguments["tokenizer_revision"] == commit
    assert arguments["load_format"] == "safetensors"
    assert "revision" not in Engine("/a/folder", 512, gpu=True).engine_kwargs()


@pytest.mark.parametrize(
    ("address", "model"),
    [
        ("gpt2", HubModel("gpt2")),
        ("a/b.c-d", HubModel("a/b.c-d")),
        ("a/b@refs/pr/1", HubModel("a/b", "refs/pr/1")),
        ("a/b@" + "0" * 40, HubModel("a/b", "0" * 40)),
    ],
)
def test_addresses(address: str, model: HubModel) -> None:
    assert HubModel.parse(address) == model
    assert str(model) == address


@pytest.mark.parametrize(
    "address",
    ["/a/b", "s3://a/b", "a/b/c", "a/b@", "a/b@../x", "a/b@x/../y", "../b", "a@b@c", "a/b\n"],
)
def test_what_is_no_hub_model(address: str) -> None:
    assert HubModel.parse(address) is None
