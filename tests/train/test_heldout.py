"""Held-out rows: of the sources that hold documents out, each document without a copy of itself in sight."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from longspan.order.order import Stage
from longspan.parallel.groups import SequenceGroup
from longspan.shards.manifest import SourceManifest
from longspan.storage import Store
from longspan.train.data.heldout import HeldOut
from tests.sources import Sources, sources, store, tokenizer  # noqa: F401


def job_of(
    store: Store,  # noqa: F811
    *manifests: SourceManifest,
    length: int = 32,
    mask: bool = True,
) -> Any:
    recipe = SimpleNamespace(
        packing=SimpleNamespace(document_mask=mask),
        corpora=[SimpleNamespace(format="auto") for _ in manifests],
        heldout=SimpleNamespace(rows_per_source=2),
    )
    plan = SimpleNamespace(stages=[Stage(length, 8, 20)])
    data = SimpleNamespace(corpora=manifests)
    return SimpleNamespace(plan=plan, recipe=recipe, data=data, store=store)


def test_a_source_that_holds_nothing_out_has_no_rows(store: Store, sources: Sources) -> None:  # noqa: F811
    first, second = sources
    none = SourceManifest(second.name, second.fingerprint, second.tokenizer, second.train)
    some = HeldOut(job_of(store, first, none), SequenceGroup.single(0, 1))
    assert not some.is_empty
    assert {int(batch.sources[0]) for batch in some._batches} == {0}
    for rank in range(2):
        assert HeldOut(job_of(store, none, none), SequenceGroup.single(rank, 2)).is_empty


@pytest.mark.parametrize("mask", [True, False])
def test_a_source_shorter_than_a_row(store: Store, sources: Sources, mask: bool) -> None:  # noqa: F811
    length, manifest = 5000, sources[0]
    assert manifest.heldout_tokens < length
    job = job_of(store, manifest, length=length, mask=mask)
    (batch,) = HeldOut(job, SequenceGroup.single(0, 1))._batches
    counted = int((batch.labels != -100).sum())
    if mask:  # The copies that fill the row are kept apart.
        assert counted > manifest.heldout_tokens
        assert (np.diff(batch.positions[0]) != 1).any()
    else:
        assert 0 < counted < manifest.heldout_tokens
