"""Manifests come back as they were; the fingerprint is that of the content."""

from dataclasses import replace
from pathlib import Path

import pytest

from longspan.errors import UserError
from longspan.shards.manifest import ObjectManifest, SourceManifest, manifest_path
from longspan.shards.token_shards import Block
from longspan.storage import Store, sealed


def example(folder: str = "shards/books") -> SourceManifest:
    first = ObjectManifest(
        path="raw/b.jsonl",
        version="v1",
        key="k1",
        tokenizer="fastokens",
        train=(Block(f"{folder}/b/0", 0, 3, 30, 11), Block(f"{folder}/b/0", 1, 1, 9, 12)),
        heldout=(Block(f"{folder}/b/h", 0, 1, 5, 13),),
        bytes=100,
        characters=200,
        skipped={"empty": 1, "not JSON": 2},
        bad=3,
        lengths={2: (1, 5), 4: (3, 60)},
        lowest=0.125,
    )
    second = ObjectManifest(
        path="raw/a.jsonl",
        version="v2",
        key="k2",
        tokenizer="transformers",
        train=(Block(f"{folder}/a/0", 0, 2, 7, 14),),
        bytes=10,
        characters=20,
        skipped={"empty": 1},
    )
    return SourceManifest.of("books", "hash", "<eos>", [first, second])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def test_a_manifest_comes_back(store: Store) -> None:
    example().save(store)

    assert SourceManifest.load(store, "books") == example()
    example().save(store, "runs/x/books.json")
    assert SourceManifest.load(store, "books", "runs/x/books.json") == example()


def test_a_manifest_without_objects_comes_back(store: Store) -> None:
    manifest = SourceManifest("x", "f", "t", (Block("shards/x/s", 0, 1, 2, None),))
    manifest.save(store)

    assert SourceManifest.load(store, "x") == manifest


def test_an_object_s_manifest_comes_back() -> None:
    for item in example().objects:
        assert ObjectManifest.from_json(item.to_json()) == item


def test_sums() -> None:
    manifest = example()

    assert [block.tokens for block in manifest.train] == [7, 30, 9]  # By path: a, then b.
    assert (manifest.train_tokens, manifest.train_documents) == (46, 6)
    assert (manifest.heldout_tokens, manifest.heldout_documents) == (5, 1)
    assert (manifest.bytes, manifest.characters) == (110, 220)
    assert manifest.skipped == {"empty": 2, "not JSON": 2}
    assert manifest.tokenizers == {"fastokens": 1, "transformers": 1}


def test_the_fingerprint_is_of_the_content() -> None:
    manifest = example()
    first, second = manifest.objects
    moved = example("elsewhere")
    block = replace(first.train[0], crc=99)
    changed = SourceManifest.of("books", "hash", None, [replace(first, train=(block,)), second])
    swapped = replace(second, train=second.heldout, heldout=second.train)

    assert moved.fingerprint == manifest.fingerprint
    assert changed.fingerprint != manifest.fingerprint
    assert SourceManifest.of("books", "other", None, [first, second]) != manifest
    assert (
        SourceManifest.of("books", "hash", None, [first, swapped]).fingerprint
        != manifest.fingerprint
    )


def test_a_source_that_is_not_ingested(store: Store) -> None:
    with pytest.raises(UserError, match="source 'books' is not ingested"):
        SourceManifest.load(store, "books")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{}", "is damaged"), (sealed.dumps({"format": 0}), "another format: run the ingest again")],
)
def test_what_is_no_manifest(store: Store, content: bytes, message: str) -> None:
    store.write_bytes(manifest_path("books"), content)

    with pytest.raises(UserError, match=message):
        SourceManifest.load(store, "books")


@pytest.mark.parametrize(
    "folder", ["/etc", "s3://other/shards", "shards/../keys", "keys", "runs/x/checkpoints"]
)
def test_a_manifest_that_names_shards_elsewhere_is_refused(store: Store, folder: str) -> None:
    """Whoever may write manifests must not choose what those read who may read more, or where they write."""
    planted = example(folder)
    planted.save(store)
    with pytest.raises(UserError, match=r"is damaged: .* is not (below|the path)"):
        SourceManifest.load(store, "books")
    for item in planted.objects:
        with pytest.raises(ValueError, match=r"is not (below|the path)"):
            ObjectManifest.from_json(item.to_json())
