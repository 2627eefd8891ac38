from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from tests import varlen
from tests.tiny import make_tiny_model


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with tied embeddings: window 256, RoPE base 10,000."""
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def tiny_untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "untied", tied=False)


@pytest.fixture
def varlen_by_hand() -> Iterator[list[int]]:
    """Registers `tests.varlen` as an implementation of attention.

    Yields the longest sequence that each call was given.
    """
    longest: list[int] = []

    def attend(*args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        longest.append(kwargs["max_length_q"])
        return varlen.attend(*args, **kwargs)

    AttentionInterface.register("varlen_by_hand", attend)
    AttentionMaskInterface.register("varlen_by_hand", lambda *_, **__: None)
    yield longest
