"""The tiny tokenizer, a store, and some documents."""

from pathlib import Path

import pytest

from longspan.instruct.chat_tokenizer import ChatTokenizer
from longspan.storage import Store
from tests.tiny import make_tiny_tokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tiny_tokenizer().save_pretrained(folder)
    return ChatTokenizer(folder)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))
