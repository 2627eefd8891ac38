"""Shards, manifests and orders that an earlier version stored are read with the same content and fingerprints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from longspan.order.order import Order, Stage
from longspan.shards.manifest import SourceManifest
from longspan.shards.token_shards import read_block
from longspan.storage import Store

STORED = Path(__file__).parent / "stored_shards"
STAGES = (Stage(32, 8, 4), Stage(64, 4, 4))


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return json.loads((STORED / "expected.json").read_text())


@pytest.fixture(scope="module")
def manifests() -> list[SourceManifest]:
    store = Store(str(STORED))
    return [SourceManifest.load(store, name) for name in ("books", "chat")]


def test_documents_and_loss_masks_are_read(
    expected: dict[str, Any], manifests: list[SourceManifest]
) -> None:
    store = Store(str(STORED))
    for manifest in manifests:
        blocks = [read_block(store, block) for block in manifest.train]
        documents = [
            block.document(number).tolist() for block in blocks for number in range(block.documents)
        ]
        assert documents == expected["documents"][manifest.name]


def test_fingerprints_are_unchanged(
    expected: dict[str, Any], manifests: list[SourceManifest]
) -> None:
    assert {each.name: each.fingerprint for each in manifests} == expected["sources"]
    blocks = [[block.tokens for block in each.train] for each in manifests]
    assert Order(blocks, [0.7, 0.3], STAGES, seed=5).fingerprint == expected["order"]
