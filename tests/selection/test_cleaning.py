"""Sources without duplicates and evaluation documents: what is left is what rows are made of."""

from pathlib import Path

import pytest

from longspan.corpus.sources import SourceSpec
from longspan.corpus.text_tokenizer import Tokenizer
from longspan.ingest.objects import Settings, ingest_object
from longspan.selection.cleaning import CleaningRules, Duplicates, clean
from longspan.selection.contamination import Contamination
from longspan.selection.evaluation import EvaluationSpec
from longspan.shards.manifest import SourceManifest
from longspan.shards.token_shards import read_block
from longspan.storage import Store
from tests.raw import jsonl, sentences
from tests.tiny import make_tiny_tokenizer

BOOKS, WEB = sentences(40, seed=1), sentences(40, seed=2)
QUESTION = (
    "what does the keeper of the light write in the book before the storm comes to the window"
)
CORPORA = {
    "books/0": BOOKS[:20],
    "books/1": BOOKS[10:],
    "web/0": [*WEB, BOOKS[3], WEB[5], f"A page. {QUESTION}? Nobody knows."],
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path))
    for name, texts in CORPORA.items():
        store.write_bytes(f"raw/{name}.jsonl", jsonl(texts))
    store.write_bytes("evals/quiz.jsonl", jsonl([QUESTION, "too short"], "question"))
    return store


def sources(store: Store, tokenizer: Tokenizer) -> list[SourceManifest]:
    settings = Settings(tokenizer.hash, None, 0.0, 200)
    found = []
    for name in ("books", "web"):
        spec = SourceSpec(name, (f"raw/{name}",))
        objects = [
            ingest_object(store, spec, info, settings, tokenizer, "stop")
            for info in store.list(f"raw/{name}")
        ]
        found.append(SourceManifest.of(name, tokenizer.hash, None, objects))
    return found


def cleaned(
    store: Store, tokenizer: Tokenizer, rules: CleaningRules
) -> tuple[list[SourceManifest], Contamination | None, list[str]]:
    said: list[str] = []
    left, report = clean(
        store,
        sources(store, tokenizer),
        rules,
        lambda: tokenizer,
        distributed=False,
        progress=said.append,
    )
    return left, report, said


def texts_of(store: Store, source: SourceManifest) -> list[str]:
    decode = make_tiny_tokenizer().decode
    blocks = [read_block(store, block) for block in source.train]
    return [decode(data.document(i)[:-1]) for data in blocks for i in range(data.documents)]


@pytest.mark.parametrize(
    ("rule", "books", "web"),
    [
        ("none", [*BOOKS[:20], *BOOKS[10:]], CORPORA["web/0"]),
        ("within", BOOKS, [*WEB, BOOKS[3], CORPORA["web/0"][-1]]),
        ("across", BOOKS, [*WEB, CORPORA["web/0"][-1]]),
    ],
)
def test_copies_are_left_out(
    store: Store, tokenizer: Tokenizer, rule: Duplicates, books: list[str], web: list[str]
) -> None:
    left, report, _ = cleaned(store, tokenizer, CleaningRules(rule))
    dropped = sum(map(len, CORPORA.values())) - len(books) - len(web)
    assert report is None
    assert [texts_of(store, source) for source in left] == [books, web]
    for source, texts in zip(left, (books, web), strict=True):
        assert source.train_documents == len(texts)
        assert sum(documents for documents, _ in source.lengths.values()) == len(texts)
        assert sum(tokens for _, tokens in source.lengths.values()) == source.train_tokens
    assert sum(source.skipped.get("duplicate", 0) for source in left) == dropped


def test_a_document_with_an_evaluation_text_in_it_is_left_out_and_reported(
    store: Store, tokenizer: Tokenizer
) -> None:
    quiz = EvaluationSpec("quiz", ("evals/quiz.jsonl",), ("question",))
    left, report, said = cleaned(store, tokenizer, CleaningRules("across", (quiz,)))
    assert [texts_of(store, source) for source in left] == [BOOKS, WEB]
    assert left[1].skipped == {"duplicate": 2, "in an evaluation set": 1}
    assert report is not None
    found = report.total
    assert (found.checked, found.too_short, found.found, found.train_documents) == (1, 1, 1, 1)
    (example,) = report.examples
    assert (example["object"], example["document"]) == ("raw/web/0.jsonl", 42)
    assert not any(QUESTION[:20] in line for line in (*said, str(report.to_json())))
    assert any(line.startswith("quiz ") for line in said)


def test_what_is_left_out_is_part_of_a_source_s_identity(
    store: Store, tokenizer: Tokenizer
) -> None:
    rules: tuple[Duplicates, ...] = ("none", "within", "across")
    webs = [cleaned(store, tokenizer, CleaningRules(rule))[0][1] for rule in rules]
    assert len({web.fingerprint for web in webs}) == 3
    webs[2].save(store)
    assert SourceManifest.load(store, "web") == webs[2]
