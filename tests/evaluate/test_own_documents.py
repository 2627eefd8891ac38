"""Pairs of a self-instruct set: about held-out documents only, at every length and depth, and without the document."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from longspan.corpus.example_sets import SplitRule
from longspan.corpus.resolve import resolve
from longspan.corpus.sources import SourceSpec
from longspan.errors import UserError
from longspan.evaluate.documents import Document, documents_hash
from longspan.evaluate.probes.own_documents import (
    MAX_PIECE_CHARACTERS,
    OwnDocumentProbe,
    make_tasks,
    split_pieces,
)
from longspan.evaluate.probes.pairs import Pair, PairSet, load_pairs
from longspan.evaluate.samples import ProbeSource, PromptFormat
from longspan.instruct.documents import Choice, take
from longspan.instruct.examples import ExampleWorker, Making
from longspan.instruct.prompt_files import load_prompts
from longspan.storage import Store, sealed
from tests.evaluate.probe_checks import check_sample, evidence_of, prompt_tokens
from tests.evaluate.probe_fixtures import (
    chat_format,
    completion_format,
    document,
    prose,
    tiny_chat,
)
from tests.raw import jsonl, put

FRACTION = 0.4
TEXTS = [f"Story {number}.\n\n{prose(number, 60)}" for number in range(16)]
SPEC = SourceSpec("books", ("raw",))


def make_set(
    store: Store, split: SplitRule | None, splits: Mapping[str, Any] | None = None
) -> None:
    """The set "qa" about the stories, as self-instruct makes it of two accepted questions on each chunk."""
    put(store, {"raw/a.jsonl": jsonl(TEXTS)})
    (info,) = resolve(store, SPEC)
    rules = {} if split is None else {"books": split}
    choice = Choice("instruct/qa", tiny_chat(), 200, 1, {"books": 100}, 1, "stop", rules)
    file = take(store, SPEC, info, choice)
    chunks = [chunk for each in file.documents for chunk in each["chunks"]]
    verdict = {"answerable": True, "correct": True, "supported": True, "score": 5}
    accepted = {
        chunk: [
            {"id": f"{chunk}-{style}", "style": style, "seed": 1, "grounding": 1.0}
            | {"question": f"What of {chunk}, {style}?", "answer": f"It is {chunk}."}
            | verdict
            for style in ("normal", "short")
        ]
        for chunk in chunks
    }
    making = Making(store, "instruct/qa/examples", tiny_chat(), load_prompts(), 1000, "m", 1)
    ids = [each["id"] for each in file.documents]
    ExampleWorker(making, accepted).work({"path": file.path, "documents": ids, "name": "part"})
    recorded = {name: vars(rule) for name, rule in rules.items()} if splits is None else splits
    store.write_bytes("instruct/qa/manifest.json", sealed.dumps({"splits": recorded}))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a set about held-out documents."""
    store = Store(str(tmp_path_factory.mktemp("store")))
    make_set(store, SplitRule("heldout", FRACTION))
    return store


@pytest.fixture(scope="module")
def pairs(store: Store) -> PairSet:
    return load_pairs(store, "qa", {"books": FRACTION, "web": 0.1}, 1000)


def source_of(
    pairs: PairSet, format: Callable[[], PromptFormat] = completion_format
) -> ProbeSource:
    """A source of the documents that the pairs are about, and one more."""
    own = [document(each.text) for each in pairs.documents.values()]
    documents: list[Document] = [*own, document(prose(99, 400))]
    return ProbeSource(tuple(documents), documents_hash(documents), format(), 1)


def test_pairs_are_those_of_the_set(store: Store, pairs: PairSet) -> None:
    assert 3 <= len(pairs.documents) <= 12
    assert len(pairs.pairs) == 2 * len(pairs.documents)
    for pair in pairs.pairs:
        text = pairs.documents[pair.document].text
        assert text in TEXTS and 0 <= pair.chunk[0] < pair.chunk[1] <= len(text)
        chunk = re.fullmatch(r"What of (\w+), (\w+)\?", pair.question)
        assert chunk and pair.style == chunk[2] and pair.answer == f"It is {chunk[1]}."
    fewer = load_pairs(store, "qa", {"books": FRACTION}, 3)
    assert fewer.pairs == pairs.pairs[:3] and fewer.hash != pairs.hash
    assert set(fewer.documents) == {pair.document for pair in fewer.pairs}


@pytest.mark.parametrize(
    ("split", "splits", "fractions", "said"),
    [
        (None, None, {"books": FRACTION}, "training may have seen"),
        (SplitRule("training", FRACTION), None, {"books": FRACTION}, "training may have seen"),
        (SplitRule("heldout", FRACTION), None, {"web": FRACTION}, "no source of this evaluation"),
        (SplitRule("heldout", FRACTION), None, {"books": 0.01}, "not held out at heldout_fraction"),
        # The manifest's word is not enough.
        (
            None,
            {"books": {"split": "heldout", "heldout_fraction": FRACTION}},
            {"books": FRACTION},
            "not held out at heldout_fraction 0.4",
        ),
        (None, {"books": {"split": 1, "other": 2}}, {"books": FRACTION}, "no finished set"),
    ],
    ids=["all", "training", "other source", "smaller fraction", "manifest lies", "no manifest"],
)
def test_documents_that_are_not_held_out_are_refused(
    tmp_path: Path,
    split: SplitRule | None,
    splits: Mapping[str, Any] | None,
    fractions: Mapping[str, float],
    said: str,
) -> None:
    store = Store(str(tmp_path))
    make_set(store, split, splits)
    with pytest.raises(UserError, match=rf"^own_documents\.set: .*{said}"):
        load_pairs(store, "qa", fractions, 1000)


def test_a_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"own_documents\.set: .*instruct/none holds no finished set"
    ):
        load_pairs(Store(str(tmp_path)), "none", {}, 1)


@pytest.mark.parametrize(
    "text",
    ["", "One.", "One. Two!\n\nThree", "x" * 1000, "a b " * 400, "\n\n\n. . .\n", prose(1, 50)],
    ids=["empty", "one", "three", "word", "words", "blank", "prose"],
)
def test_pieces_are_the_whole_text(text: str) -> None:
    pieces = split_pieces(text)
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= MAX_PIECE_CHARACTERS + 5 for piece in pieces)


@pytest.mark.parametrize("format", [completion_format, chat_format], ids=["none", "chat"])
def test_the_chunk_stands_at_the_depth_in_its_document(
    pairs: PairSet, format: Callable[[], PromptFormat]
) -> None:
    source = source_of(pairs, format)
    task, closed = make_tasks(pairs)
    for length in (1200, 5000):
        assert task.problem(source, length) is None
        for index in (0, 4, 9):
            sample = check_sample(task, source, length, index, slack=60)
            (pair,) = [each for each in pairs.pairs if each.question in sample.text]
            text = pairs.documents[pair.document].text
            (chunk,) = evidence_of(sample)
            assert chunk == text[slice(*pair.chunk)] and sample.references == (pair.answer,)
            context = sample.text.partition("\n\n")[2].rpartition("\n\nAnswer a question")[0]
            start = sample.evidence[0][0] - sample.text.index("\n\n") - 2
            # Of the text around the chunk, the share of the depth stands before it.
            assert sample.depth is not None
            assert abs(start / (len(context) - len(chunk)) - sample.depth) < 0.1
            before, after = context[:start], context[start + len(chunk) :]
            own_before, own_after = text[: pair.chunk[0]], text[pair.chunk[1] :]
            assert before.endswith(own_before[-len(before) :] if before else "")
            assert after.startswith(own_after[: len(after)])
            # Where the document ends, others follow, and not itself again.
            assert context.count(text[:200]) <= 1
            if len(before) > len(own_before) + 400:
                assert before[: -len(own_before) or None].endswith("\n\n")
            assert sample.cluster == pair.document
            alone = closed.sample(source, 0, index)
            assert pair.question in alone.text and alone.references == sample.references


def test_a_closed_book_has_no_document(pairs: PairSet) -> None:
    source = source_of(pairs)
    _, task = make_tasks(pairs)
    assert task.problem(source, 0) is None and "at length 0 only" in str(task.problem(source, 999))
    for index in range(len(pairs.pairs)):
        sample = task.sample(source, 0, index)
        assert prompt_tokens(source, sample) < 120 and sample.evidence == ()
        assert all(each.text[:40] not in sample.text for each in pairs.documents.values())
        assert not any(place in sample.text for place in ("harbor", "storm", "mill", "dawn"))


def test_each_pair_is_asked_before_any_is_asked_again(pairs: PairSet) -> None:
    source = source_of(pairs)
    task: OwnDocumentProbe = make_tasks(pairs)[1]
    count = len(pairs.pairs)
    texts = [task.sample(source, 0, index).text for index in range(2 * count)]
    assert len(set(texts[:count])) == len(set(texts[count:])) == count
    assert ("few words" in texts[0]) == (", short?" in texts[0])


def test_too_little_text_is_a_problem(pairs: PairSet) -> None:
    task, _ = make_tasks(pairs)
    assert "probes.lengths: " in str(task.problem(source_of(pairs), 10**6))
    assert "probes.lengths: " in str(task.problem(source_of(pairs), 200))


def test_a_chunk_that_does_not_fit_gives_way_to_another_one() -> None:
    """One chunk of four is longer than the shorter length; the job of all others goes on."""
    texts = [prose(number, 400 if number == 2 else 60) for number in range(4)]
    documents = {document(text).id: document(text) for text in texts}
    pairs = tuple(
        Pair(str(number), f"What of {number}?", "It is.", "short", id, (0, len(text) // 4))
        for number, (id, text) in enumerate(zip(documents, texts, strict=True))
    )
    found = PairSet("made", pairs, documents)
    source, (task, closed) = source_of(found), make_tasks(found)

    def asked(task: OwnDocumentProbe, length: int) -> list[str]:
        samples = [task.sample(source, length, index) for index in range(8)]
        return ["".join(re.findall(r"What of (\d)", sample.text)) for sample in samples]

    long, short = asked(task, 8000), asked(task, 1500)
    assert task.problem(source, 1500) is None and "2" not in short
    assert sorted(long) == list("00112233") and long == asked(closed, 0)
    kept = [(one, other) for one, other in zip(long, short, strict=True) if one != "2"]
    assert all(one == other for one, other in kept) and len(kept) == 6
    assert "the shortest one has" in str(task.problem(source, 300))
