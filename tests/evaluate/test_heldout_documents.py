"""Held-out documents: training's rule, whatever the order; what is left out is counted; nothing is read twice."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from longspan.corpus.resolve import resolve
from longspan.corpus.sources import SourceSpec
from longspan.corpus.text_tokenizer import Tokenizer
from longspan.errors import UserError
from longspan.evaluate.heldout import HeldoutDocuments, gather
from longspan.evaluate.heldout_objects import HeldoutChoice, HeldoutSource, recorded
from longspan.ingest.objects import Settings, heldout_scores, ingest_object
from longspan.storage import Store, sealed
from tests.evaluate.probe_fixtures import prose
from tests.raw import FORMATS, jsonl, put
from tests.tiny import make_tiny_tokenizer

TEXTS = [prose(number, 3 + number % 7) for number in range(60)]
SCORES = heldout_scores(TEXTS).tolist()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def source(name: str = "s", path: str = "raw", **settings: object) -> HeldoutSource:
    values = {"fraction": 0.5, "max_documents": 100} | settings
    return HeldoutSource(SourceSpec(name, (path,)), **values)  # pyrefly: ignore


def gathered(store: Store, *sources: HeldoutSource, **settings: object) -> HeldoutDocuments:
    choice = HeldoutChoice(tuple(sources or [source()]), **settings)  # pyrefly: ignore
    return gather(store, choice, lambda line: None, on_cluster=False)


def below(fraction: float, texts: Sequence[str] = TEXTS) -> list[str]:
    scores = heldout_scores(texts).tolist()
    return [text for score, text in sorted(zip(scores, texts, strict=True)) if score < fraction]


def test_documents_below_the_fraction_are_taken_the_lowest_first(store: Store) -> None:
    put(store, {"raw/a.jsonl": jsonl(TEXTS[:20]), "raw/b.jsonl": jsonl(TEXTS[20:])})
    found = gathered(store)
    assert [document.text for document in found.documents] == below(0.5)
    assert {document.origin for document in found.documents} == {"raw/a.jsonl", "raw/b.jsonl"}
    assert found.counts == {
        "s": {"read": 60, "for training": 60 - len(below(0.5)), "taken": len(below(0.5))}
    }
    few = gathered(store, source(max_documents=4))
    assert few.documents == found.documents[:4]
    assert few.counts["s"]["beyond max_documents"] == len(below(0.5)) - 4
    assert gathered(store, source(max_documents=4, fraction=1.0)).documents == few.documents


def test_training_holds_out_the_same_documents(store: Store, tmp_path: Path) -> None:
    put(store, {"raw/a.jsonl": jsonl(TEXTS)})
    make_tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    tokenizer = Tokenizer(tmp_path / "tokenizer")
    (info,) = resolve(store, source().spec)
    settings = Settings(tokenizer.hash, None, 0.3, 1024)
    manifest = ingest_object(store, source().spec, info, settings, tokenizer, "stop")
    found = gathered(store, source(fraction=0.3))
    tokens = sum(len(ids) for ids in tokenizer.encode_batch([d.text for d in found.documents]))
    assert sum(block.tokens for block in manifest.heldout) == tokens > 0


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl.zst"])
def test_neither_format_nor_order_nor_objects_matter(store: Store, suffix: str) -> None:
    put(store, {f"raw/{n}{suffix}": FORMATS[suffix](TEXTS[59 - n :: -6]) for n in range(6)})
    found = gathered(store, source(max_documents=7))
    assert [document.text for document in found.documents] == below(0.5)[:7]


def test_what_is_left_out_is_counted(store: Store) -> None:
    held = below(0.5)
    texts = [
        held[0],
        held[0],
        " \n",
        "Short.",
        *TEXTS,
        "It ends <|im_end|> here, as it began. " * 9,
    ]
    put(store, {"raw/a.jsonl": jsonl(texts) + b'{"text": 5}\n', "raw/b.txt": b"\xff"})
    found = gathered(
        store, source(fraction=1.0, min_characters=100), control_tokens=("<|im_end|>",)
    )
    long = {text for text in TEXTS if len(text) >= 100}
    assert {document.text for document in found.documents} == long
    assert found.counts["s"] == {
        "read": 65,
        "empty": 1,
        "repeated": 2,
        "shorter than min_characters": 61 - len(long),
        "spells out a control token": 1,
        "taken": len(long),
        "text field is no text": 1,
        "not UTF-8": 1,
    }
    with pytest.raises(UserError, match=r"corpora\.s: .*bad_input: skip"):
        gathered(store, bad_input="stop")


def test_a_text_in_two_objects_or_sources_is_taken_once(store: Store) -> None:
    put(store, {f"raw/{name}.jsonl": jsonl(TEXTS) for name in "ab"} | {"more/a.txt": b"Another."})
    put(store, {"more/b.jsonl": jsonl(TEXTS[:5])})
    found = gathered(store, source(), source("more", "more", fraction=1.0))
    texts = [document.text for document in found.documents]
    assert sorted(texts) == sorted({*below(0.5), "Another.", *TEXTS[:5]})


def test_nothing_is_read_again(store: Store) -> None:
    put(store, {"raw/a.jsonl": jsonl(TEXTS[:30]), "raw/b.jsonl": jsonl(TEXTS[30:])})
    found = gathered(store)
    written = store.list("evaluate/documents")
    assert gathered(store) == found
    assert store.list("evaluate/documents") == written
    # A changed object is read; the others are not.
    put(store, {"raw/b.jsonl": jsonl(TEXTS[30:50])})
    again = gathered(store)
    assert [document.text for document in again.documents] == below(0.5, TEXTS[:50])
    parts = [item for item in store.list("evaluate/documents/parts") if item not in written]
    assert len(parts) == 2
    assert len(store.list("evaluate/documents/*.json")) == 2


def test_a_killed_job_s_parts_are_used(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, {"raw/a.jsonl": jsonl(TEXTS[:30]), "raw/b.jsonl": jsonl(TEXTS[30:])})
    found = gathered(store)
    for item in store.list("evaluate/documents/*.*"):
        store.delete(item.path)
    monkeypatch.setattr("longspan.evaluate.heldout.take", None)
    assert gathered(store) == found


@pytest.mark.parametrize("key", ["path", "corpus", "origin"])
def test_a_record_that_names_another_object_is_not_used(store: Store, key: str) -> None:
    """Documents become prompts: a planted record must not choose which file is read for them."""
    put(store, {"raw/a.jsonl": jsonl(TEXTS)})
    gathered(store)
    choice = HeldoutChoice((source(),))
    (info,) = resolve(store, source().spec)
    part = recorded(store, choice, source(), info)
    assert part is not None
    planted = dict(vars(part)) | {key: "/home/someone/private.parquet"}
    store.write_bytes(f"{choice.path(source(), info)}.json", sealed.dumps(planted))
    assert recorded(store, choice, source(), info) is None


def test_a_source_without_held_out_documents_is_a_mistake(store: Store) -> None:
    put(store, {"raw/a.jsonl": jsonl(TEXTS)})
    with pytest.raises(UserError, match=r"corpora\.s\.heldout_fraction: none of its 60 documents"):
        gathered(store, source(fraction=min(SCORES)))
    with pytest.raises(UserError, match=r"60 documents \(.*shorter than min_characters"):
        gathered(store, source(min_characters=10**6))
    with pytest.raises(UserError, match=r"corpora\.s\.format: chat"):
        chat = dataclasses.replace(source().spec, format="chat")
        gathered(store, dataclasses.replace(source(), spec=chat))
    with pytest.raises(UserError, match=r"corpora\.s\.min_tokens"):
        tokens = dataclasses.replace(source().spec, min_tokens=5)
        gathered(store, dataclasses.replace(source(), spec=tokens))


def test_a_corrupt_file_is_named(store: Store) -> None:
    put(store, {"raw/a.jsonl": jsonl(TEXTS)})
    gathered(store)
    (kept,) = store.list("evaluate/documents/*.parquet")
    data = bytearray(store.read_bytes(kept.path))
    data[len(data) // 2] ^= 1
    store.write_bytes(kept.path, bytes(data))
    with pytest.raises(UserError, match=r"\.parquet: .*delete it and run again"):
        gathered(store)


@pytest.mark.real
def test_the_cluster_gathers_the_same(store: Store, ray_session: str) -> None:
    put(store, {f"raw/{n}.jsonl": jsonl(TEXTS[10 * n : 10 * n + 10]) for n in range(6)})
    lines: list[str] = []
    choice = HeldoutChoice((source(max_documents=9),))
    found = gather(store, choice, lines.append)
    assert [document.text for document in found.documents] == below(0.5)[:9]
    assert "held-out documents: 6/6 objects 100%" in lines[-1]
