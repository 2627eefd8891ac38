"""The whole ingest, on a real Ray, in a folder and on S3."""

import json
import os
import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from longspan.corpus.repository import RepositoryRule
from longspan.corpus.sources import SourceSpec
from longspan.corpus.text_tokenizer import Tokenizer, tokenizer_hash
from longspan.errors import UserError
from longspan.ingest.corpora import Ingest
from longspan.ingest.objects import Settings, heldout_scores, ingest_object
from longspan.shards.manifest import SourceManifest
from longspan.shards.token_shards import read_block
from longspan.storage import Store
from tests.raw import FORMATS, hostile_parquet, hostile_when_opened, put, sentences
from tests.s3 import S3Server
from tests.tiny import make_tiny_tokenizer

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("ray_session")]

BOOKS = SourceSpec("books", ("raw/books",))
CODE = SourceSpec("code", ("raw/code/*.txt", "raw/code/*.gz"))

Run = Callable[..., dict[str, SourceManifest]]


@pytest.fixture(scope="module")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def store(s3_server: S3Server) -> Store:
    return Store(f"s3://{s3_server.bucket}/{uuid.uuid4().hex}", endpoint=s3_server.endpoint)


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "folder"))


@pytest.fixture
def lines() -> list[str]:
    """What a run reports."""
    return []


@pytest.fixture
def run(tokenizer_dir: str, lines: list[str]) -> Run:
    def run(store: Store, *specs: SourceSpec, **changes: Any) -> dict[str, SourceManifest]:
        lines.clear()
        asked = Ingest(store, specs, tokenizer_dir, None, 0.1, "stop", block_tokens=500)
        return replace(asked, **changes).run(lines.append)

    return run


def corpora(store: Store) -> None:
    """Three formats of books, and plain text."""
    files = {
        f"raw/books/{number}{suffix}": FORMATS[suffix](sentences(60, number))
        for number, suffix in enumerate([".parquet", ".jsonl.gz", ".jsonl.zst"])
    }
    files |= {f"raw/code/{n}.txt": sentences(1, 100 + n)[0].encode() for n in range(39)}
    files["raw/code/39.txt.gz"] = FORMATS[".txt.gz"](sentences(1, 139))
    put(store, files)


def texts_of(store: Store, manifest: SourceManifest, part: str) -> list[str]:
    decode = make_tiny_tokenizer().decode
    found = []
    for block in getattr(manifest, part):
        data = read_block(store, block)
        found += [decode(data.document(n).tolist()[:-1]) for n in range(data.documents)]
    return found


def read_anew(lines: list[str]) -> list[str]:
    return [line.split(", ")[1] for line in lines if " objects, " in line and line.count(",") == 1]


def test_all_documents_arrive(store: Store, run: Run) -> None:
    corpora(store)
    found = run(store, BOOKS, CODE)

    expected = [text for number in range(3) for text in sentences(60, number)]
    held = [text for text in expected if heldout_scores([text])[0] < 0.1]
    assert list(found) == ["books", "code"]
    assert texts_of(store, found["books"], "heldout") == held
    assert texts_of(store, found["books"], "train") == [t for t in expected if t not in held]
    assert found["code"].train_documents + found["code"].heldout_documents == 40
    for name, manifest in found.items():
        assert SourceManifest.load(store, name) == manifest
        assert manifest.tokenizers == {"fastokens": len(manifest.objects)}


def test_a_second_run_reads_nothing(folder: Store, run: Run, lines: list[str]) -> None:
    corpora(folder)
    first = run(folder, BOOKS, CODE)
    manifests = folder.list("shards/*/manifest.json")
    second = run(folder, BOOKS, CODE)

    assert second == first
    assert read_anew(lines) == ["all done", "all done"]
    assert folder.list("shards/*/manifest.json") == manifests


def test_only_what_changed_is_read_again(store: Store, run: Run, lines: list[str]) -> None:
    corpora(store)
    before = run(store, BOOKS)["books"]
    store.write_bytes("raw/books/1.jsonl.gz", FORMATS[".jsonl.gz"](sentences(30, 7)))
    store.write_bytes("raw/books/3.jsonl", FORMATS[".jsonl"](sentences(30, 8)))
    store.delete("raw/books/0.parquet")
    after = run(store, BOOKS)["books"]

    assert read_anew(lines)[0].startswith("2 to read")
    assert [item.path for item in after.objects] == [
        "raw/books/1.jsonl.gz",
        "raw/books/2.jsonl.zst",
        "raw/books/3.jsonl",
    ]
    assert after.objects[1] == before.objects[2]
    assert after.fingerprint != before.fingerprint
    # A running job can still read what it started with.
    assert len(texts_of(store, before, "train")) == before.train_documents


def test_only_repositories_that_changed_are_read_again(
    folder: Store, run: Run, lines: list[str]
) -> None:
    spec = SourceSpec("code", ("repos",), repository=RepositoryRule(depth=1))
    files = {f"repos/r{n}/src/{m}.py": f"x = {n} + {m}\n".encode() for n in range(20) for m in "ab"}
    put(folder, files)
    before = run(folder, spec)["code"]
    assert before.train_documents + before.heldout_documents == 20
    folder.write_bytes("repos/r7/src/a.py", b"y = 7\n")
    folder.write_bytes("repos/r8/README", b"eight")
    folder.delete("repos/r9/src/b.py")
    after = run(folder, spec)["code"]

    assert any(line.startswith("ingest: code: 20 repositories, 3 to read") for line in lines)
    changed = [a.path for a, b in zip(after.objects, before.objects, strict=True) if a != b]
    assert changed == ["repos/r7", "repos/r8", "repos/r9"]
    texts = texts_of(folder, after, "train") + texts_of(folder, after, "heldout")
    assert "README\neight\n\nsrc/a.py\nx = 8 + a\n\nsrc/b.py\nx = 8 + b\n" in texts


def test_touching_an_object_changes_no_data(folder: Store, run: Run, lines: list[str]) -> None:
    corpora(folder)
    before = run(folder, BOOKS)["books"]
    os.utime(f"{folder.root}/raw/books/0.parquet", (1, 1))
    after = run(folder, BOOKS)["books"]

    assert read_anew(lines)[0].startswith("1 to read")
    assert after.fingerprint == before.fingerprint


def test_a_run_goes_on_where_another_was_killed(
    folder: Store, run: Run, lines: list[str], tokenizer_dir: str
) -> None:
    corpora(folder)
    settings = Settings(tokenizer_hash(tokenizer_dir), None, 0.1, 500)
    info = folder.list("raw/books")[1]
    done = ingest_object(folder, BOOKS, info, settings, Tokenizer(tokenizer_dir), "stop")
    manifest = run(folder, BOOKS)["books"]

    assert read_anew(lines)[0].startswith("2 to read")
    assert manifest.objects[1] == done


def test_shards_that_are_gone_are_written_again(folder: Store, run: Run, lines: list[str]) -> None:
    corpora(folder)
    before = run(folder, BOOKS)["books"]
    folder.delete(before.train[0].shard)
    after = run(folder, BOOKS)["books"]

    assert read_anew(lines)[0].startswith("1 to read")
    assert after == before
    assert texts_of(folder, after, "train")


def test_parallel_work_gives_what_one_process_gives(
    folder: Store, run: Run, tokenizer_dir: str
) -> None:
    corpora(folder)
    manifest = run(folder, CODE)["code"]
    settings = Settings(tokenizer_hash(tokenizer_dir), None, 0.1, 500)
    tokenizer = Tokenizer(tokenizer_dir)
    alone = [
        ingest_object(folder, CODE, info, settings, tokenizer, "stop")
        for info in folder.list("raw/code")
    ]

    assert manifest == SourceManifest.of("code", settings.tokenizer, None, alone)


def test_bad_input_stops_and_leaves_no_manifest(folder: Store, run: Run) -> None:
    corpora(folder)
    folder.write_bytes("raw/books/bad.jsonl", b'{"body": "x"}\n')

    with pytest.raises(UserError, match=r"corpora\.books: raw/books/bad\.jsonl, line 1: no text"):
        run(folder, BOOKS)

    assert not folder.exists("shards/books/manifest.json")


def test_bad_input_is_skipped_counted_and_reported(
    folder: Store, run: Run, lines: list[str]
) -> None:
    corpora(folder)
    put(folder, {"raw/books/bad.jsonl": b'{"body": "x"}\n', "raw/books/none.parquet": b""})
    # Where Ray Data is imported, reading these would run what is in them.
    marker = f"{folder.root}/marker"
    hostile = {
        "text": hostile_parquet(["x"], marker, "text"),
        "read": hostile_parquet(["x"], marker),
        "opened": hostile_when_opened(marker),
    }
    put(folder, {f"raw/books/{name}.parquet": data for name, data in hostile.items()})
    manifest = run(folder, BOOKS, bad_input="skip")["books"]

    assert manifest.skipped == {"empty": 1, "extension type": 3, "no text field": 1}
    assert "skipped: 1 empty, 3 extension type, 1 no text field" in lines[-1]
    assert not os.path.exists(marker)
    assert manifest.train_documents + manifest.heldout_documents == 180
    # What was skipped stops the job once it is told to stop.
    with pytest.raises(UserError, match="bad_input=skip"):
        run(folder, BOOKS)
    # And so does a conversation's object, for a column that is not asked for.
    hostile_chat = replace(BOOKS, patterns=("raw/books/read.parquet",), format="chat")
    with pytest.raises(UserError, match="column 'image' has the extension type"):
        run(folder, hostile_chat)
    assert not os.path.exists(marker)


def test_an_empty_heldout_split_names_a_fraction_that_is_enough(folder: Store, run: Run) -> None:
    put(folder, {"raw/code/x.jsonl.gz": FORMATS[".jsonl.gz"](sentences(20))})
    with pytest.raises(UserError) as raised:
        run(folder, SourceSpec("code", ("raw/code",)), heldout_fraction=1e-9)

    message = str(raised.value)
    assert "corpora.code: a held-out fraction of 1e-09 holds out none of its 20 docu" in message
    enough = float(re.findall(r"heldout_fraction=([0-9.e-]+)", message)[0])
    found = run(folder, SourceSpec("code", ("raw/code",)), heldout_fraction=enough)["code"]
    assert found.heldout_documents == 1


def test_an_empty_training_split(folder: Store, run: Run) -> None:
    put(folder, {"raw/code/x.txt": b"the only document"})

    with pytest.raises(UserError, match="holds out all of its 1 documents"):
        run(folder, SourceSpec("code", ("raw/code",)), heldout_fraction=0.999999)
    with pytest.raises(UserError, match=r"set corpora\.code\.heldout_fraction=0, which holds none"):
        run(folder, SourceSpec("code", ("raw/code",)), heldout_fraction=1e-9)
    assert run(folder, SourceSpec("code", ("raw/code",)), heldout_fraction=0)


def test_a_source_that_names_nothing(folder: Store, run: Run) -> None:
    corpora(folder)

    with pytest.raises(UserError, match=r"corpora\.web\.path: 'raw/web' .* nearest .* 'raw/code/"):
        run(folder, BOOKS, SourceSpec("web", ("raw/web",)))


def test_the_manifest_is_json_for_other_tools(folder: Store, run: Run) -> None:
    corpora(folder)
    manifest = run(folder, BOOKS)["books"]
    value = json.loads(folder.read_bytes("shards/books/manifest.json"))

    assert value["train_tokens"] == manifest.train_tokens
    assert value["fingerprint"] == manifest.fingerprint
