"""An export's tokenizer loads wherever the base model's did: its files are copied, not written anew."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from longspan.errors import UserError
from longspan.model.load import load_tokenizer
from longspan.model.tokenizer_files import copy_tokenizer


def source_of(tiny: Path, folder: Path, **settings: Any) -> Path:
    """The tiny model's tokenizer with other settings in its tokenizer_config.json."""
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny / name, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text()) | settings
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def copied(source: Path, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    copy_tokenizer(source, folder, 4096)
    return json.loads((folder / "tokenizer_config.json").read_text())


@pytest.mark.parametrize("name", ["PreTrainedTokenizerFast", "TokenizersBackend"])
def test_the_class_is_the_base_models(tiny: Path, tmp_path: Path, name: str) -> None:
    source = source_of(tiny, tmp_path / "source", tokenizer_class=name)
    assert copied(source, tmp_path / "copy")["tokenizer_class"] == name


def test_settings_in_the_form_of_transformers_4_stay_in_it(tiny: Path, tmp_path: Path) -> None:
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": ["<|im_start|>"],
        "added_tokens_decoder": {"0": {"content": "<|endoftext|>", "special": True}},
        "clean_up_tokenization_spaces": True,
    }
    config = copied(source_of(tiny, tmp_path / "source", **settings), tmp_path / "copy")
    assert {key: config[key] for key in settings} == settings
    assert "extra_special_tokens" not in config, "a list that transformers 4 does not read"


def test_only_the_window_and_names_of_code_change(tiny: Path, tmp_path: Path) -> None:
    code = {"auto_map": {"AutoTokenizer": ["tokenization_own.Own", None]}}
    source = source_of(tiny, tmp_path / "source", model_max_length=256, **code)
    before = json.loads((source / "tokenizer_config.json").read_text())
    after = copied(source, tmp_path / "copy")
    del before["auto_map"]
    assert after == before | {"model_max_length": 4096}
    assert load_tokenizer(tmp_path / "copy").model_max_length == 4096
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (source / name).read_bytes() == (tmp_path / "copy" / name).read_bytes()


def test_weights_and_code_beside_a_tokenizer_are_not_copied(tiny: Path, tmp_path: Path) -> None:
    source = source_of(tiny, tmp_path / "source")
    for name in ("model.safetensors", "tokenization_own.py", "training_args.json"):
        (source / name).write_text("x")
    copied(source, tmp_path / "copy")
    assert {file.name for file in (tmp_path / "copy").iterdir()} == {
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }


def test_a_folder_without_a_tokenizer_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with pytest.raises(UserError, match="holds no tokenizer"):
        copy_tokenizer(tmp_path, tmp_path / "copy", 4096)
