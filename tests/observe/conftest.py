"""Records of a made-up run."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

Records = list[dict[str, Any]]


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Records]:
    """Records of a run: ``make_run(updates, lengths={first update: length}, base_window=...)``."""
    return _make_run


def _make_run(updates: int, lengths: dict[int, int], base_window: int = 512) -> Records:
    records = [
        _heldout("original", 0, max(lengths.values()), lambda b: 2.2 + _beyond(b, base_window)),
        _heldout("start", 0, max(lengths.values()), lambda b: 2.9),
    ]
    for update in range(1, updates + 1):
        length = lengths[max(first for first in lengths if first <= update)]
        records.append(_update(update, updates, length))
    records.append(_heldout("end", updates, max(lengths.values()), lambda b: 2.3 - b / 1e7))
    return records


def _update(update: int, updates: int, length: int) -> dict[str, Any]:
    return {
        "kind": "update",
        "update": update,
        "time": 1000.0 + 2 * update,
        "loss": 2.3 + math.exp(-4 * update / updates),
        "learning_rate": 9.8e-5 * (1 - update / (2 * updates)),
        "grad_norm": 1.5,
        "tokens": 8192,
        "tokens_per_second": 4096.0,
        "data_wait_seconds": 0.01,
        "step_seconds": 2.0,
        "length": length,
        "source_tokens.books": 6144,
        "source_tokens.code": 2048,
    }


def _heldout(phase: str, update: int, window: int, loss: Callable[[int], float]) -> dict[str, Any]:
    edges = [0] + [2**i for i in range(6, 30) if 2**i < window] + [window]
    bands = [[a, b, loss(b), 4096] for a, b in pairwise(edges)]
    return {
        "kind": "heldout",
        "phase": phase,
        "update": update,
        "time": 1000.0 + 2 * update,
        "loss": sum(band[2] for band in bands) / len(bands),
        "loss.books": 2.4,
        "loss.code": 1.5,
        "positions": bands,
    }


def _beyond(position: int, window: int) -> float:
    return max(0.0, 3 * math.log2(position / window))
