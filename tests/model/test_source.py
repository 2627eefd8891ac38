import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from longspan.errors import UserError
from longspan.model.source import (
    fetch,
    local_model_dir,
    local_tokenizer_dir,
    require_weights,
)
from longspan.storage.store import Store
from tests.model.processes import run_python
from tests.s3 import S3Server, credentials


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def copied(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copied"))


def test_a_local_folder_is_used_where_it_is(tiny: Path, tmp_path: Path) -> None:
    assert local_model_dir(str(tiny), None, tmp_path / "cache") == tiny
    assert not (tmp_path / "cache").exists()


def test_a_folder_of_the_store_is_found_by_its_relative_name(
    tiny: Path, store: Store, tmp_path: Path
) -> None:
    store.upload(tiny, "runs/first/model")
    found = local_model_dir("runs/first/model", store, tmp_path / "cache")
    assert (found / "model.safetensors").read_bytes() == (tiny / "model.safetensors").read_bytes()


def test_weights_in_several_files_are_whole_or_refused(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "sharded"
    LlamaForCausalLM.from_pretrained(tiny).save_pretrained(path, max_shard_size="100KB")
    assert local_model_dir(str(path), None, tmp_path) == path
    shard = sorted(path.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(UserError, match=f"lacks {shard.name}, which model.safetensors.index.json"):
        local_model_dir(str(path), None, tmp_path)
    (path / "model.safetensors.index.json").write_text("{")
    with pytest.raises(UserError, match=r"index\.json is damaged"):
        local_model_dir(str(path), None, tmp_path)


def test_truncated_weights_are_refused(copied: Path, tmp_path: Path) -> None:
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"model\.safetensors is truncated or damaged"):
        local_model_dir(str(copied), None, tmp_path)


def test_a_folder_of_pickles_only_is_refused(tiny: Path, copied: Path, tmp_path: Path) -> None:
    (copied / "model.safetensors").unlink()
    state = LlamaForCausalLM.from_pretrained(tiny).state_dict()
    torch.save(state, copied / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"in pytorch_model\.bin only, a pickle.*safetensors"):
        local_model_dir(str(copied), None, tmp_path)


@pytest.mark.parametrize("lacking", ["config.json", "model.safetensors"])
def test_a_folder_that_is_no_model_is_refused(lacking: str, copied: Path, tmp_path: Path) -> None:
    (copied / lacking).unlink()
    with pytest.raises(UserError, match=r"holds no (config\.json|\.safetensors file)"):
        local_model_dir(str(copied), None, tmp_path)


def test_a_missing_model_names_every_place_that_was_tried(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        local_model_dir("./models/none/here", store, tmp_path)
    message = str(caught.value)
    assert message.startswith("base_model: there is no model at './models/none/here'")
    assert "is no folder" in message and store.uri("models/none/here") in message


def test_a_hub_name_offline_is_one_message(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from longspan.errors import UserError\n"
        "from longspan.model.source import local_model_dir\n"
        "try: local_model_dir('someone/some-model', None, sys.argv[1])\n"
        "except UserError as error: print(error)\n"
    )
    done = run_python(program, tmp_path, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hub"))
    assert done.stdout.startswith("base_model: there is no model 'someone/some-model'")
    assert "HF_HUB_OFFLINE forbids fetching it" in done.stdout


def test_a_hub_model_in_the_cache_loads_offline(tiny: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "hub/hub/models--someone--some-model/snapshots/abc"
    shutil.copytree(tiny, snapshot)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    program = (
        "import sys\n"
        "from longspan.model.source import local_model_dir\n"
        "print(local_model_dir('someone/some-model', None, sys.argv[1]))\n"
    )
    done = run_python(program, tmp_path, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hub"))
    assert done.stdout.strip() == str(snapshot)


def test_code_in_a_models_folder_is_not_run(copied: Path, tmp_path: Path) -> None:
    from longspan.model.load import load_config

    config: dict[str, Any] = json.loads((copied / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine"}}
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(UserError, match="no config that transformers knows"):
        load_config(copied)
    assert not (tmp_path / "ran").exists()


def test_what_a_store_holds_is_fetched_once_for_each_content(
    tiny: Path, store: Store, tmp_path: Path
) -> None:
    store.upload(tiny, "models/tiny")
    cache = tmp_path / "cache"
    first = fetch("models/tiny", store, cache)
    assert {file.name for file in first.iterdir()} == {file.name for file in tiny.iterdir()}
    inode = (first / "model.safetensors").stat().st_ino
    assert fetch("models/tiny", store, cache) == first
    assert (first / "model.safetensors").stat().st_ino == inode, "fetched again"
    store.write_bytes("models/tiny/chat_template.jinja", b"changed")
    second = fetch("models/tiny", store, cache)
    assert (second / "chat_template.jinja").read_text() == "changed"
    left = sorted(path for path in cache.iterdir() if path.name != ".locks")
    assert left == sorted([first, second]), "something half-fetched is left"


@pytest.mark.real
def test_a_tokenizer_is_fetched_from_a_bucket_without_the_weights(
    s3_server: S3Server, tiny: Path, tmp_path: Path
) -> None:
    with credentials(s3_server.owner):
        store = Store(f"s3://{s3_server.bucket}/tokenizers", endpoint=s3_server.endpoint)
        store.upload(tiny, "tiny")
        require_weights("tiny", store)
        folder = local_tokenizer_dir("tiny", store, tmp_path / "cache")
        store.delete("tiny/model.safetensors")
        with pytest.raises(UserError, match=r"'tiny' holds no \.safetensors file"):
            require_weights("tiny", store)
    assert (folder / "tokenizer.json").read_bytes() == (tiny / "tokenizer.json").read_bytes()
    assert not list(folder.glob("*.safetensors"))


def test_nothing_is_fetched_where_there_is_no_model(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no model at .*models/none"):
        fetch("models/none", store, tmp_path / "cache")
    store.write_bytes("models/pickled/pytorch_model.bin", b"pickle")
    with pytest.raises(UserError, match=r"pytorch_model\.bin only, a pickle"):
        fetch("models/pickled", store, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
