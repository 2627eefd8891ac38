"""The files of a tokenizer: training does not change it, so an export has the base model's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from longspan.model.load import load_tokenizer

CONFIG = "tokenizer_config.json"
_FILES = (
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "chat_template.json",
    "chat_template.jinja",
)
_TEMPLATES = "additional_chat_templates"


def copy_tokenizer(source: str | Path, folder: Path, window: int) -> None:
    """Copy a tokenizer to another folder, and check that it is the same there.

    The files are copied, rather than saved by transformers: version 5 writes classes and keys that version 4
    and other tools do not load (``TokenizersBackend``, a list of ``extra_special_tokens``). So a copy loads
    wherever the source did.

    Args:
        source: local folder with the tokenizer.
        folder: where it is copied to.
        window: tokens; becomes ``model_max_length``. The base model's limit would cut, or warn of, every text
            that the new window is for.

    Raises:
        UserError: there is no tokenizer that loads in the source.
        AssertionError: the copy is another tokenizer.
    """
    source = Path(source)
    for name in _FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    if (source / _TEMPLATES).is_dir():
        shutil.copytree(source / _TEMPLATES, folder / _TEMPLATES)
    _write_config(source / CONFIG, folder / CONFIG, window)
    before, after = load_tokenizer(source), load_tokenizer(folder)
    for what in ("chat_template", "special_tokens_map", "all_special_ids"):
        found, expected = getattr(after, what), getattr(before, what)
        assert found == expected, f"{what} of the tokenizer in {folder} is {found}, not {expected}"
    assert after.get_vocab() == before.get_vocab(), f"the tokenizer in {folder} has other tokens"


def _write_config(source: Path, path: Path, window: int) -> None:
    config = json.loads(source.read_text(encoding="utf-8")) if source.is_file() else {}
    config["model_max_length"] = window
    config.pop("auto_map", None)  # It names files of code, which are not part of an export.
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
