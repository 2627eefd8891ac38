"""Hub models: from the hub's cache without a network, through a proxy, and behind an agreement."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import set_client_factory
from huggingface_hub.utils._http import default_client_factory

from longspan.errors import UserError
from longspan.recipe.load import parse_recipe
from longspan.recipe.model import BaseModel, inspect_model
from longspan.recipe.schema import Recipe
from longspan.storage import Store
from tests.model.hub import Hub, hub_on_loopback, use

NAME = "someone/model"
UNKNOWN = "http://hub.invalid"
"""A host that has no address, by RFC 6761."""
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
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, an empty cache, and no proxy."""
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with hub_on_loopback() as hub:
        use(monkeypatch, tmp_path / "hub", hub.url)
        yield hub


def test_a_cached_model_needs_no_network(
    hub: Hub, store: Store, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "hub" / "models--someone--model"
    shutil.copytree(tiny_model, folder / "snapshots" / "abc")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    use(monkeypatch, tmp_path / "hub", UNKNOWN)
    config = json.loads((tiny_model / "config.json").read_text())
    found: BaseModel = inspect_model(recipe_of(), store)
    assert found.facts.window == config["max_position_embeddings"]
    assert hub.requests == []


def test_a_host_without_an_address_is_not_tried(
    hub: Hub, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, tmp_path / "hub", UNKNOWN)
    with pytest.raises(UserError, match=r"base_model: there is no model .*can't be reached"):
        inspect_model(recipe_of(), store)


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
def test_a_proxy_finds_the_address(
    hub: Hub,
    store: Store,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    hub.push(NAME, tiny_model)
    use(monkeypatch, tmp_path / "hub", UNKNOWN)
    monkeypatch.setenv(variable, hub.url)
    set_client_factory(default_client_factory)  # The client reads the variables when it is made.
    try:
        assert inspect_model(recipe_of(), store).facts.model_type == "llama"
    finally:
        monkeypatch.delenv(variable)
        set_client_factory(default_client_factory)


@pytest.mark.parametrize("key", ["base_model", "tokenizer"])
def test_an_agreement_is_told_apart(hub: Hub, store: Store, tiny_model: Path, key: str) -> None:
    hub.push(NAME, tiny_model)
    hub.gated.add(NAME)
    recipe = recipe_of(**{"base_model": str(tiny_model), key: NAME})
    said = rf"^{key}: the hub keeps '{NAME}' behind an agreement: accept it there.*hf auth login"
    with pytest.raises(UserError, match=said):
        inspect_model(recipe, store)
