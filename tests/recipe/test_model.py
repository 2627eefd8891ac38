"""Hub models: from the hub's cache without a network, through a proxy, and behind an agreement."""

import json
import shutil
import socket
from pathlib import Path

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import constants, errors

from longspan.errors import UserError
from longspan.recipe.load import parse_recipe
from longspan.recipe.model import BaseModel, look_at_model
from longspan.recipe.schema import Recipe
from longspan.storage import Store

NAME = "someone/model"
RECIPE = {
    "name": "run",
    "base_model": NAME,
    "target_context": 4096,
    "corpora": [{"name": "books", "path": "corpora/books", "weight": 1}],
}


def recipe_of(**changes: object) -> Recipe:
    return parse_recipe(RECIPE | changes)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, on a machine that is online, but finds no host and has no proxy."""
    place = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def no_address(*_: object) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    return place


def gated(*_: object) -> str:
    response = httpx2.Response(403, request=httpx2.Request("HEAD", f"https://hub/{NAME}"))
    raise errors.GatedRepoError("403 Client Error", response=response)


def test_a_cached_model_needs_no_network(cache: Path, store: Store, tiny_model: Path) -> None:
    folder = cache / "models--someone--model"
    shutil.copytree(tiny_model, folder / "snapshots" / "abc")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    config = json.loads((tiny_model / "config.json").read_text())
    found: BaseModel = look_at_model(recipe_of(), store)
    assert found.facts.window == config["max_position_embeddings"]


def test_a_host_without_an_address_is_not_tried(
    cache: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *wanted: tried.append(wanted))
    with pytest.raises(UserError, match=r"base_model: there is no model .*can't be reached"):
        look_at_model(recipe_of(), store)
    assert not tried


@pytest.mark.parametrize("variable", ["https_proxy", "ALL_PROXY"])
def test_a_proxy_finds_the_address(
    cache: Path, store: Store, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://proxy:3128")
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda model, name: str(tiny_model / name)
    )
    assert look_at_model(recipe_of(), store).facts.model_type == "llama"


@pytest.mark.parametrize("key", ["base_model", "tokenizer"])
def test_an_agreement_is_told_apart(
    cache: Path, store: Store, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", gated)
    recipe = recipe_of(**{"base_model": str(tiny_model), key: NAME})
    said = rf"^{key}: the hub keeps '{NAME}' behind an agreement: accept it there.*hf auth login"
    with pytest.raises(UserError, match=said):
        look_at_model(recipe, store)
