"""Held-out rows: no document is measured with a copy of itself in sight."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from longspan.ingest.manifest import SourceManifest
from longspan.storage import Store
from longspan.train.heldout import HeldOut
from tests.sources import sources, store, tokenizer  # noqa: F401

LENGTH = 5000


def heldout(store: Store, manifest: SourceManifest, mask: bool) -> HeldOut:  # noqa: F811
    job: Any = SimpleNamespace(
        store=store,
        corpora=(manifest,),
        plan=SimpleNamespace(stages=[SimpleNamespace(length=LENGTH)]),
        recipe=SimpleNamespace(
            packing=SimpleNamespace(document_mask=mask),
            corpora=[SimpleNamespace(format="text")],
            heldout=SimpleNamespace(rows_per_source=4),
        ),
    )
    return HeldOut(job, 0, 1)


@pytest.mark.parametrize("mask", [True, False])
def test_a_source_shorter_than_a_row(
    store: Store,  # noqa: F811
    sources: tuple[SourceManifest, ...],  # noqa: F811
    mask: bool,
) -> None:
    manifest = sources[0]
    assert manifest.heldout_tokens < LENGTH
    (batch,) = heldout(store, manifest, mask)._batches
    counted = int((batch.labels != -100).sum())
    if mask:  # The copies that fill the row are kept apart.
        assert counted > manifest.heldout_tokens
        assert (np.diff(batch.positions[0]) != 1).any()
    else:
        assert 0 < counted < manifest.heldout_tokens
