"""A tiny model, a store with tasks, and no network."""

import socket
from pathlib import Path
from typing import Any

import pytest

from longspan.evaluate.scoring.scorer import Scorer
from longspan.evaluate.suites.load import Workspace
from longspan.evaluate.suites.model import SuiteModel
from longspan.storage import Store
from tests.evaluate.suites.made_suites import (
    CHOICE_TASK,
    ROLLING_TASK,
    TEXT_TASK,
    WINDOW,
    InProcessScoring,
)
from tests.tiny import make_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"), WINDOW, tied=False)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def scorer(folder: Path) -> Scorer:
    # The window is the suite's to heed.
    return Scorer.load(folder, "fp32", allow_beyond_window=True)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(f"a connection was tried: {arguments[-1]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    store = Store(str(tmp_path / "store"))
    for task in (CHOICE_TASK, TEXT_TASK, ROLLING_TASK):
        name = task.split()[1]
        store.write_bytes(f"tasks/{name}.yaml", task.encode())
    return Workspace(store, tmp_path / "local", lambda line: None)


@pytest.fixture
def scored(tokenizer: Any, scorer: Scorer) -> SuiteModel:
    return SuiteModel("tiny", WINDOW, tokenizer, InProcessScoring(scorer))
