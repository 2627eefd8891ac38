"""The sample model and its books, where `make sample` has put them."""

import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".longspan" / "models" / "SmolLM2-135M-Instruct"
BOOKS = ROOT / ".longspan" / "store" / "corpora" / "books"


@pytest.fixture(scope="session")
def sample_model() -> Path:
    """SmolLM2-135M-Instruct, with a window of 8,192 tokens, as a Hugging Face folder."""
    if not (FOLDER / "model.safetensors").is_file() or not BOOKS.is_dir():
        pytest.skip("no sample model in .longspan; run `make sample`")
    return FOLDER


def books(count: int, characters: int) -> list[str]:
    """The beginnings of some books, which are plays and poems in English."""
    return [path.read_text()[:characters] for path in sorted(BOOKS.glob("*.txt"))[:count]]


def with_rope_base(model: Path, folder: Path, base: float) -> Path:
    """The same weights and tokenizer, with another RoPE base."""
    folder.mkdir()
    for path in model.iterdir():
        if path.name != "config.json":
            os.symlink(path.resolve(), folder / path.name)
    config = json.loads((model / "config.json").read_text())
    assert config["rope_parameters"]["rope_theta"] != base
    config["rope_parameters"]["rope_theta"] = base
    (folder / "config.json").write_text(json.dumps(config))
    return folder
