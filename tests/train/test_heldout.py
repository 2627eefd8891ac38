"""Held-out rows are those of the sources that hold documents out."""

from types import SimpleNamespace
from typing import Any

from longspan.ingest.manifest import SourceManifest
from longspan.order.order import Stage
from longspan.storage import Store
from longspan.train.heldout import HeldOut
from tests.sources import Sources, sources, store  # noqa: F401


def job_of(store: Store, *manifests: SourceManifest) -> Any:  # noqa: F811
    recipe = SimpleNamespace(
        packing=SimpleNamespace(document_mask=True),
        corpora=[SimpleNamespace(format="auto") for _ in manifests],
        heldout=SimpleNamespace(rows_per_source=2),
    )
    plan = SimpleNamespace(stages=[Stage(32, 8, 20)])
    return SimpleNamespace(plan=plan, recipe=recipe, corpora=manifests, store=store)


def test_a_source_that_holds_nothing_out_has_no_rows(store: Store, sources: Sources) -> None:  # noqa: F811
    first, second = sources
    none = SourceManifest(second.name, second.fingerprint, second.tokenizer, second.train)
    some = HeldOut(job_of(store, first, none), 0, 1)
    assert not some.is_empty
    assert {int(batch.sources[0]) for batch in some._batches} == {0}
    for rank in range(2):
        assert HeldOut(job_of(store, none, none), rank, 2).is_empty
