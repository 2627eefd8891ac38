"""Screening of ingested objects: planted evaluation texts are found, and nothing is read twice."""

import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from longspan.corpus.sources import SourceSpec
from longspan.corpus.text_tokenizer import Tokenizer
from longspan.errors import UserError
from longspan.ingest.objects import Settings, ingest_object
from longspan.selection.contamination import contamination
from longspan.selection.evaluation import EvaluationSpec, read_evaluations
from longspan.selection.overlap import OverlapIndex
from longspan.selection.screen import ScreenedObject, screen, screened
from longspan.selection.screened import screen_object
from longspan.shards.manifest import ObjectManifest
from longspan.storage import Store
from tests.raw import FORMATS, jsonl, parquet, put, sentences
from tests.tiny import TEXT

QUESTIONS = [" ".join(TEXT[:3]), " ".join(TEXT[3:6]), TEXT[7]]
ANSWERS = ["the ship", TEXT[8], TEXT[9]]
BOOKS = SourceSpec("books", ("raw/books",))
SPECS = (
    EvaluationSpec("riddles", ("evals/riddles.jsonl",), ("question", "answer")),
    EvaluationSpec("trivia", ("evals/*.parquet",)),
)
PROSE = sentences(60, 5)
# The first two questions, in parts and in other surroundings, at these places among the documents.
EDITED = " ".join(w if n % 10 else "gone" for n, w in enumerate(QUESTIONS[0].split(" "), 1))
PLANTED = {
    3: f"{PROSE[39]}\n\n{QUESTIONS[0]}\n\n{PROSE[38]}",
    11: f'{PROSE[37]} ("{QUESTIONS[1]}").',
    20: f"A beginning. {QUESTIONS[0][: len(QUESTIONS[0]) * 4 // 5]}",
    25: f"{QUESTIONS[1][len(QUESTIONS[1]) * 3 // 5 :]} An end.",
    30: f"{PROSE[36]} {EDITED} {PROSE[35]}",
    40: QUESTIONS[0],
}
CONTAMINATED = [3, 11, 20, 40]
NOTHING: dict[str, list[Any]] = {"documents": [], "tokens": [], "evaluations": [], "shares": []}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """To which every word of the texts is one token, as common words are to real ones."""
    from tokenizers import Tokenizer as Definition
    from tokenizers import models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Definition(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=["<|end|>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    made.train_from_iterator([*TEXT, *PROSE], trainer)
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>").save_pretrained(folder)
    return Tokenizer(folder)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A folder, or a bucket for tests that ask for "s3"."""
    store = Store(str(tmp_path / "store"))
    if getattr(request, "param", "folder") == "s3":
        server = request.getfixturevalue("s3_server")
        store = Store(f"s3://{server.bucket}/{uuid.uuid4().hex}", endpoint=server.endpoint)
    riddles = [{"question": q, "answer": a} for q, a in zip(QUESTIONS, ANSWERS, strict=True)]
    texts = [PLANTED.get(number, text) for number, text in enumerate(PROSE)]
    put(
        store,
        {
            "evals/riddles.jsonl": "".join(json.dumps(row) + "\n" for row in riddles).encode(),
            "evals/trivia.parquet": parquet([TEXT[10], "too short", f"\n{TEXT[11]}  "]),
            "raw/books/0.jsonl": jsonl(texts),
            "raw/books/1.parquet": FORMATS[".parquet"](sentences(30, 1)),
            "raw/books/2.jsonl": jsonl([*sentences(30, 2), f"So: {TEXT[8]}"]),
        },
    )
    return store


@pytest.fixture
def index(store: Store, tokenizer: Tokenizer) -> OverlapIndex:
    return OverlapIndex(read_evaluations(store, SPECS, tokenizer))


Ingest = Callable[..., list[ObjectManifest]]


@pytest.fixture
def ingested(store: Store, tokenizer: Tokenizer) -> Ingest:
    def ingested(heldout_fraction: float = 0) -> list[ObjectManifest]:
        """The objects of `BOOKS`, in several blocks each."""
        settings = Settings(tokenizer.hash, None, heldout_fraction, 500)
        return [
            ingest_object(store, BOOKS, info, settings, tokenizer, "stop")
            for info in store.list("raw/books")
        ]

    return ingested


def here(
    store: Store, objects: Sequence[ObjectManifest], index: OverlapIndex
) -> tuple[list[ScreenedObject], str]:
    """The results, and how much there was to read."""
    lines: list[str] = []
    found = screen(store, objects, index, distributed=False, progress=lines.append)
    return found, lines[0].split(", ")[1]


def values(results: Sequence[ScreenedObject | None]) -> list[Any]:
    return [result and result.to_json() for result in results]


def test_planted_texts_are_found(store: Store, ingested: Ingest, index: OverlapIndex) -> None:
    objects = ingested()
    assert len(objects[0].train) > 1
    found, _ = here(store, objects, index)

    documents, tokens = found[0].train.contaminated()
    assert documents.tolist() == CONTAMINATED
    assert found[0].train.evaluations.tolist() == [0, 1, 0, 0]
    assert found[0].train.shares[[0, 1, 3]].tolist() == [1, 1, 1]
    assert 0.5 <= found[0].train.shares[2] < 1
    assert sum(tokens) < sum(block.tokens for block in objects[0].train)
    assert found[1].to_json() == {"train": NOTHING, "heldout": NOTHING}
    # The second answer, without its question.
    assert found[2].train.to_json() | {"tokens": None} == {
        "documents": [30],
        "tokens": None,
        "evaluations": [4],
        "shares": [1.0],
    }


def test_heldout_documents_are_screened_too(
    store: Store, ingested: Ingest, index: OverlapIndex
) -> None:
    everything, _ = here(store, ingested(), index)
    split, _ = here(store, ingested(heldout_fraction=0.5), index)

    both = [
        sum(len(getattr(result, part).documents) for result in split)
        for part in ("train", "heldout")
    ]
    assert sum(both) == sum(len(result.train.documents) for result in everything)
    assert min(both) > 0


def test_a_second_run_reads_no_shards(store: Store, ingested: Ingest, index: OverlapIndex) -> None:
    objects = ingested()
    assert screened(store, objects, index) == [None] * 3
    first, todo = here(store, objects, index)
    assert todo == "3 to read"
    for item in objects:
        for block in item.train:
            store.delete(block.shard)
    second, todo = here(store, objects, index)

    assert todo == "all done"
    assert values(second) == values(first) == values(screened(store, objects, index))


def test_a_run_goes_on_where_another_was_killed(
    store: Store, ingested: Ingest, index: OverlapIndex
) -> None:
    objects = ingested()
    done = screen_object(store, objects[0], index)
    found, todo = here(store, objects, index)

    assert todo == "2 to read"
    assert values(found[:1]) == values([done])


def test_only_what_changed_is_read_again(
    store: Store, ingested: Ingest, index: OverlapIndex
) -> None:
    here(store, ingested(), index)
    store.write_bytes("raw/books/1.parquet", FORMATS[".parquet"](QUESTIONS))
    store.write_bytes("raw/books/3.jsonl", jsonl(["No question."]))
    found, todo = here(store, ingested(), index)

    assert todo == "2 to read"
    assert [len(result.train.documents) for result in found] == [4, 3, 1, 0]


def test_another_rule_or_a_damaged_result_is_read_anew(
    store: Store, ingested: Ingest, index: OverlapIndex
) -> None:
    objects = ingested()
    first, _ = here(store, objects, index)
    stricter = OverlapIndex(index.sets, share=1.0)
    found, todo = here(store, objects, stricter)
    assert todo == "3 to read"
    assert [len(result.train.documents) for result in found] == [3, 0, 1]

    (path,) = [info.path for info in store.list(f"shards/books/0-*/overlap-{index.fingerprint}*")]
    for damaged in (
        b"",
        b"{}",
        b"[]",
        store.read_bytes(path).replace(b'"content": "', b'"content": "x'),
    ):
        store.write_bytes(path, damaged)
        found, todo = here(store, objects, index)
        assert todo == "1 to read"
        assert values(found) == values(first)


def test_an_object_without_documents(store: Store, ingested: Ingest, index: OverlapIndex) -> None:
    store.write_bytes("raw/books/3.jsonl", jsonl(["", ""]))
    objects = ingested()
    found, todo = here(store, objects, index)

    assert todo == "3 to read"
    assert values(found)[3] == values(found)[1]


def test_a_missing_shard_stops_it(store: Store, ingested: Ingest, index: OverlapIndex) -> None:
    objects = ingested()
    store.delete(objects[1].train[0].shard)

    with pytest.raises(UserError, match=r"shard .*1-parquet.* is missing"):
        here(store, objects, index)


def test_the_report(store: Store, ingested: Ingest, index: OverlapIndex) -> None:
    objects = ingested()
    found, _ = here(store, objects, index)
    report = contamination(objects, found, index)
    sizes = {item.path: found[n].train.contaminated()[1] for n, item in enumerate(objects)}
    dropped = int(sizes["raw/books/0.jsonl"].sum())
    answer = int(sizes["raw/books/2.jsonl"].sum())

    header = (
        "evaluation set, checked, too short, found in training, documents dropped, tokens dropped, "
        "held-out documents"
    )
    rows = [line.split("  ") for line in report.table()]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows] == [
        header.split(", "),
        ["riddles.question", "3", "0", "2", "4", f"{dropped}", "0"],
        ["riddles.answer", "2", "1", "1", "1", f"{answer}", "0"],
        ["trivia", "2", "1", "0", "0", "0", "0"],
        ["all together", "7", "2", "3", "5", f"{dropped + answer}", "0"],
    ]
    value = json.loads(json.dumps(report.to_json()))
    assert value["total"]["train_tokens"] == dropped + answer
    assert value["examples"][-1] == {
        "object": "raw/books/2.jsonl",
        "part": "train",
        "document": 30,
        "tokens": answer,
        "set": "riddles.answer",
        "evaluation": 1,
        "share": 1.0,
    }
    assert value["commonest"] == [
        {"set": "riddles.question", "evaluation": 0, "train_documents": 3},
        {"set": "riddles.question", "evaluation": 1, "train_documents": 1},
        {"set": "riddles.answer", "evaluation": 1, "train_documents": 1},
    ]
    assert not any(text in json.dumps(value) for text in QUESTIONS + ANSWERS)


def test_a_report_of_nothing_found(store: Store, ingested: Ingest, index: OverlapIndex) -> None:
    objects = ingested()[1:2]
    report = contamination(objects, here(store, objects, index)[0], index)

    assert (report.total.checked, report.total.train_documents) == (7, 0)
    assert report.examples == report.commonest == ()
    assert len(report.table()) == 5


@pytest.mark.parametrize(
    "spec, message",
    [
        (
            EvaluationSpec("quiz", ("evals/quiz.jsonl",)),
            r"decontaminate\.against\.quiz\.path: .* matches no object .*nearest",
        ),
        (
            EvaluationSpec("quiz", ("evals/riddles.jsonl",), ("question", "choices")),
            r"decontaminate\.against\.quiz: .*line 1: no text field .*other text_fields",
        ),
        (
            EvaluationSpec("quiz", ("evals/quiz.bin",)),
            r"decontaminate\.against\.quiz\.path: .* set decontaminate\.against\.quiz\.format",
        ),
    ],
)
def test_an_evaluation_set_that_cannot_be_read(
    store: Store, tokenizer: Tokenizer, spec: EvaluationSpec, message: str
) -> None:
    store.write_bytes("evals/quiz.bin", b"?")

    with pytest.raises(UserError, match=message):
        read_evaluations(store, [spec], tokenizer)


@pytest.mark.real
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_ray_finds_what_one_process_finds(
    store: Store, ingested: Ingest, index: OverlapIndex
) -> None:
    objects = ingested(heldout_fraction=0.3)
    lines: list[str] = []
    found = screen(store, objects, index, progress=lines.append)

    assert lines[0].endswith("3 objects, 3 to read")
    assert "3/3 objects 100%" in lines[-1]
    alone = [screen_object(store, item, index) for item in objects]
    assert values(found) == values(alone) == values(screened(store, objects, index))


@pytest.mark.real
@pytest.mark.usefixtures("ray_session")
def test_an_error_in_ray_is_one_message(
    store: Store, ingested: Ingest, index: OverlapIndex
) -> None:
    objects = ingested()
    store.delete(objects[1].train[0].shard)

    with pytest.raises(UserError, match=r"^shard .*1-parquet.* is missing"):
        screen(store, objects, index, progress=lambda line: None)
