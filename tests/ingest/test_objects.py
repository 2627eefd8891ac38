"""One raw object into shards: what is kept, what is held out, what is skipped."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import fastokens
import numpy as np
import pytest

from longspan.corpus.filters import conditions
from longspan.corpus.repository import RepositoryRule
from longspan.corpus.resolve import resolve
from longspan.corpus.sources import SourceSpec
from longspan.corpus.text_tokenizer import Tokenizer
from longspan.errors import UserError
from longspan.ingest import objects
from longspan.ingest.objects import Settings, heldout_scores, ingest_object, object_folder
from longspan.shards.manifest import ObjectManifest
from longspan.shards.token_shards import Block, read_block
from longspan.storage import ObjectInfo, Store
from tests.raw import jsonl, put, sentences
from tests.tiny import make_tiny_tokenizer

SPEC = SourceSpec("books", ("raw",))
TEXTS = sentences(200)

WRITE_WITH_LITTLE_ROOM = """
import pickle, resource, sys
from longspan.ingest.objects import ingest_object
from longspan.errors import UserError
arguments = pickle.load(open(sys.argv[1], "rb"))
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
try:
    ingest_object(*arguments)
except UserError as error:
    print(error)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.fixture
def settings(tokenizer: Tokenizer) -> Settings:
    return Settings(tokenizer.hash, None, 0.1, 500)


def written(store: Store, data: bytes, name: str = "raw/x.jsonl") -> ObjectInfo:
    store.write_bytes(name, data)
    (info,) = store.list(name)
    return info


def texts_of(store: Store, blocks: tuple[Block, ...]) -> list[str]:
    """The documents of some blocks, as text again."""
    decode = make_tiny_tokenizer().decode
    found = []
    for block in blocks:
        data = read_block(store, block)
        for number in range(data.documents):
            *ids, separator = data.document(number).tolist()
            assert separator == 2
            found.append(decode(ids))
    return found


def test_every_document_is_on_one_side_in_order(
    store: Store, settings: Settings, tokenizer: Tokenizer
) -> None:
    info = written(store, jsonl(TEXTS))
    manifest = ingest_object(store, SPEC, info, settings, tokenizer, "stop")
    held = heldout_scores(TEXTS) < 0.1

    assert texts_of(store, manifest.heldout) == list(np.array(TEXTS)[held])
    assert texts_of(store, manifest.train) == list(np.array(TEXTS)[~held])
    assert 5 < held.sum() < 50
    assert manifest.characters == sum(map(len, TEXTS))
    assert manifest.bytes == info.size
    assert manifest.tokenizer == "fastokens"
    bands = manifest.lengths.values()
    assert sum(documents for documents, _ in bands) == (~held).sum()
    assert sum(tokens for _, tokens in bands) == sum(block.tokens for block in manifest.train)
    assert manifest.lowest == heldout_scores(TEXTS).min()


def test_copies_fall_on_the_same_side(
    store: Store, settings: Settings, tokenizer: Tokenizer
) -> None:
    info = written(store, jsonl(TEXTS * 2))
    manifest = ingest_object(store, SPEC, info, settings, tokenizer, "stop")

    assert not set(texts_of(store, manifest.train)) & set(texts_of(store, manifest.heldout))


def test_scores_are_spread_evenly() -> None:
    counts, _ = np.histogram(heldout_scores(sentences(5000)), bins=10, range=(0, 1))

    assert counts.min() > 400
    assert counts.max() < 600


def test_the_result_does_not_depend_on_batches(
    store: Store, settings: Settings, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = written(store, jsonl(TEXTS))
    whole = ingest_object(store, SPEC, info, settings, tokenizer, "stop")
    monkeypatch.setattr(objects, "BATCH_CHARACTERS", 300)
    monkeypatch.setattr(objects, "SHARD_BLOCKS", 10**6)
    again = ingest_object(store, SPEC, info, settings, tokenizer, "stop")

    assert [block.crc for block in again.train] == [block.crc for block in whole.train]


def test_large_objects_become_several_shards(
    store: Store, settings: Settings, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "BATCH_CHARACTERS", 300)
    monkeypatch.setattr(objects, "SHARD_BLOCKS", 2)
    info = written(store, jsonl(TEXTS))
    manifest = ingest_object(store, SPEC, info, settings, tokenizer, "stop")
    shards = {block.shard for block in manifest.train}

    assert len(shards) > 3
    assert all(store.exists(shard) for shard in shards)
    assert texts_of(store, manifest.train) == [
        text for text in TEXTS if heldout_scores([text])[0] >= 0.1
    ]


def test_filters_are_counted(store: Store, settings: Settings, tokenizer: Tokenizer) -> None:
    spec = replace(SPEC, min_tokens=10, max_tokens=1000)
    info = written(store, jsonl(["", "short", "", "too long " * 1000, *TEXTS[30:35]]))
    manifest = ingest_object(store, spec, info, settings, tokenizer, "stop")

    assert manifest.skipped == {
        "empty document": 2,
        "fewer than min_tokens": 1,
        "more than max_tokens": 1,
    }
    assert manifest.bad == 0
    assert sum(block.documents for block in manifest.train + manifest.heldout) == 5


def test_rows_that_a_condition_leaves_out_are_counted_and_not_bad(
    store: Store, settings: Settings, tokenizer: Tokenizer
) -> None:
    spec = replace(SPEC, where=conditions({"id": {"min": 150}}))
    manifest = ingest_object(store, spec, written(store, jsonl(TEXTS)), settings, tokenizer, "stop")

    assert manifest.skipped == {"filtered out": 150}
    assert manifest.bad == 0
    assert sorted(texts_of(store, manifest.train + manifest.heldout)) == sorted(TEXTS[150:])


def test_a_repository_is_one_document_with_its_length(
    store: Store, settings: Settings, tokenizer: Tokenizer
) -> None:
    spec = SourceSpec("code", ("code",), repository=RepositoryRule(depth=1), min_tokens=8)
    files = {"code/long/a.py": b"a = 1", "code/long/b.py": b"b = 2", "code/x/a.py": b"a"}
    put(store, files | {"code/long/c.bin": b"\xff"})
    found = [
        ingest_object(store, spec, unit, settings, tokenizer, "skip")
        for unit in resolve(store, spec)
    ]

    assert [item.path for item in found] == ["code/long", "code/x"]
    assert [item.skipped for item in found] == [{"not UTF-8": 1}, {"fewer than min_tokens": 1}]
    assert texts_of(store, found[0].train + found[0].heldout) == ["a.py\na = 1\n\nb.py\nb = 2\n"]
    with pytest.raises(UserError, match=r"corpora\.code: code/long/c\.bin, the whole object: not"):
        ingest_object(store, spec, resolve(store, spec)[0], settings, tokenizer, "stop")


def test_bad_input_stops(store: Store, settings: Settings, tokenizer: Tokenizer) -> None:
    info = written(store, jsonl(TEXTS) + b'{"body": "x"}\n')

    with pytest.raises(UserError) as raised:
        ingest_object(store, SPEC, info, settings, tokenizer, "stop")

    message = str(raised.value)
    assert message.startswith("corpora.books: raw/x.jsonl, line 201: no text field")
    assert "'body'" in message
    assert "bad_input=skip" in message
    assert not store.exists(f"{object_folder(SPEC, info, settings.key(SPEC, info))}/object.json")


def test_bad_input_is_counted(store: Store, settings: Settings, tokenizer: Tokenizer) -> None:
    bad = b'{"body": "x"}\n{\n{"body": "y"}\n{"text": "caf\xe9"}\n'
    info = written(store, jsonl(TEXTS[:100]) + bad + jsonl(TEXTS[100:]))
    manifest = ingest_object(store, SPEC, info, settings, tokenizer, "skip")

    assert manifest.skipped == {"no text field": 2, "not JSON": 1, "not UTF-8": 1}
    assert manifest.bad == 4
    assert sum(block.documents for block in manifest.train + manifest.heldout) == 200


def test_an_object_with_nothing_in_it(
    store: Store, settings: Settings, tokenizer: Tokenizer
) -> None:
    manifest = ingest_object(store, SPEC, written(store, b""), settings, tokenizer, "skip")

    assert (manifest.train, manifest.heldout) == ((), ())
    assert manifest.skipped == {"empty": 1}


def test_another_tokenizer_result_makes_it_start_again_with_the_reference(
    store: Store, settings: Settings, tokenizer: Tokenizer
) -> None:
    info = written(store, jsonl(TEXTS))
    right = ingest_object(store, SPEC, info, settings, tokenizer.reference(), "stop")
    backend = make_tiny_tokenizer().backend_tokenizer
    backend.pre_tokenizer = None  # Merges across words, in long documents only.
    wrong = tokenizer.reference()
    wrong._wanted = "fastokens"
    wrong._fast = fastokens.Tokenizer.from_json_str(backend.to_str())

    manifest = ingest_object(store, SPEC, info, settings, wrong, "stop")

    assert manifest.tokenizer == "transformers"
    assert manifest == right


def test_the_key_tells_versions_and_settings_apart(settings: Settings) -> None:
    info = ObjectInfo("raw/x.jsonl", 10, "v1")
    keys = {
        settings.key(SPEC, info),
        settings.key(SPEC, replace(info, version="v2")),
        settings.key(SPEC, replace(info, path="raw/y.jsonl")),
        settings.key(replace(SPEC, text_field="body"), info),
        settings.key(replace(SPEC, min_tokens=5), info),
        settings.key(replace(SPEC, max_tokens=5), info),
        settings.key(replace(SPEC, format="text"), info),
        settings.key(replace(SPEC, where=conditions({"year": 1})), info),
        settings.key(replace(SPEC, where=conditions({"year": 2})), info),
        settings.key(replace(SPEC, repository=RepositoryRule("r", "p")), info),
        settings.key(replace(SPEC, repository=RepositoryRule("r", "p", header="")), info),
        replace(settings, tokenizer="other").key(SPEC, info),
        replace(settings, separator="<|endoftext|>").key(SPEC, info),
        replace(settings, heldout_fraction=0.2).key(SPEC, info),
        replace(settings, block_tokens=100).key(SPEC, info),
    }

    assert len(keys) == 15
    # Spelling the format out changes nothing.
    assert settings.key(replace(SPEC, format="jsonl"), info) in keys


def test_a_changed_object_leaves_the_old_shards(
    store: Store, settings: Settings, tokenizer: Tokenizer
) -> None:
    first = ingest_object(store, SPEC, written(store, jsonl(TEXTS)), settings, tokenizer, "stop")
    before = texts_of(store, first.train)
    second = ingest_object(
        store, SPEC, written(store, jsonl(TEXTS[:50])), settings, tokenizer, "stop"
    )

    assert first.key != second.key
    assert texts_of(store, first.train) == before


def test_a_full_disk_leaves_nothing_half_written(
    store: Store, settings: Settings, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    import pickle

    info = written(store, jsonl(TEXTS))
    arguments = tmp_path / "arguments"
    arguments.write_bytes(pickle.dumps((store, SPEC, info, settings, tokenizer, "stop")))
    command = [sys.executable, "-c", WRITE_WITH_LITTLE_ROOM, str(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "File too large; make room" in done.stdout
    left = [path for path in (tmp_path / "shards").rglob("*") if path.is_file()]
    assert left == []
    # With room again, the same object is done.
    manifest: ObjectManifest = ingest_object(store, SPEC, info, settings, tokenizer, "stop")
    assert sum(block.documents for block in manifest.train + manifest.heldout) == 200
