"""Raw objects into documents with chunks: what is taken, what is left out, and that it is reproducible."""

import json
from collections import Counter
from pathlib import Path

import pytest

from longspan.chat.tokenizer import ChatTokenizer
from longspan.corpus.example_sets import SplitRule
from longspan.corpus.resolve import resolve
from longspan.corpus.sources import SourceSpec
from longspan.errors import UserError
from longspan.generate.requests import Sampling
from longspan.generate.tables import each_row
from longspan.hashing import text_id
from longspan.ingest.objects import heldout_scores
from longspan.instruct.choose import chosen, shares
from longspan.instruct.documents import Choice, DocumentFile, recorded, take
from longspan.instruct.prompt_files import load_prompts
from longspan.instruct.requests import Questions
from longspan.instruct.schema import InstructRecipe
from longspan.storage import Store, sealed
from tests.instruct.texts import story
from tests.raw import jsonl, put

SPEC = SourceSpec("s", ("raw",))


def taken(
    store: Store, tokenizer: ChatTokenizer, spec: SourceSpec = SPEC, **settings: object
) -> list[DocumentFile]:
    values = {"chunks_per_document": None, "most": 100, "seed": 1, "bad_input": "skip"} | settings
    most = {spec.name: values.pop("most")}
    choice = Choice("instruct/x", tokenizer, 64, most=most, **values)  # pyrefly: ignore
    return [take(store, spec, info, choice) for info in resolve(store, spec)]


def test_bad_input_is_left_out_and_counted(store: Store, tokenizer: ChatTokenizer) -> None:
    texts = [
        story(1, 30),
        "",
        " \n\t ",
        "Short.",
        story(1, 30),
        "Ends <|im_end|> here",
        story(2, 3),
    ]
    put(store, {"raw/a.jsonl": jsonl(texts) + b'{"text": 5}\n{"text": "\xff"}\n', "raw/b.txt": b""})
    spec = SourceSpec("s", ("raw",), min_tokens=20)
    files = taken(store, tokenizer, spec)
    assert sum((Counter(file.counts) for file in files), Counter()) == {
        "read": 7,
        "empty": 3,
        "shorter than min_tokens": 1,
        "repeated": 1,
        "spells out a control token": 1,
        "text field is no text": 1,
        "not UTF-8": 1,
    }
    assert [len(file.documents) for file in files] == [2, 0]
    with pytest.raises(UserError, match=r"corpora\.s: .*bad_input: skip"):
        taken(store, tokenizer, spec, bad_input="stop")


def test_held_out_documents_are_those_that_training_holds_out(
    store: Store, tokenizer: ChatTokenizer
) -> None:
    texts = [story(number, 2) for number in range(60)]
    put(store, {"raw/a.jsonl": jsonl(texts)})
    scores = dict(zip(map(text_id, texts), heldout_scores(texts), strict=True))
    ids: dict[str, set[str]] = {}
    for split in ("heldout", "training"):
        rule = SplitRule(split, 0.3)
        (file,) = taken(store, tokenizer, splits={"s": rule})
        ids[split] = {document["id"] for document in file.documents}
        left_out = "not held out" if split == "heldout" else "held out"
        assert file.counts == {"read": 60, left_out: 60 - len(file.documents)}
    assert ids["heldout"] == {id for id, score in scores.items() if score < 0.3}
    assert 5 < len(ids["heldout"]) < 35
    assert ids["training"] == set(scores) - ids["heldout"]


def test_a_document_longer_than_a_chunk_has_several_a_shorter_one_has_one(
    store: Store, tokenizer: ChatTokenizer
) -> None:
    put(store, {"raw/a.jsonl": jsonl([story(1, 30), "A short one."])})
    (file,) = taken(store, tokenizer)
    chunks = {row["number"]: row["chunks"] for row in each_row(store, file.path)}
    assert len(chunks[0]) > 5
    assert [(chunk["start"], chunk["end"]) for chunk in chunks[1]] == [(0, 12)]
    (file,) = taken(store, tokenizer, chunks_per_document=2)
    fewer = {row["number"]: row["chunks"] for row in each_row(store, file.path)}
    assert len(fewer[0]) == 2
    assert all(chunk in chunks[0] for chunk in fewer[0])


def test_the_lowest_scores_are_taken_over_all_objects(
    store: Store, tokenizer: ChatTokenizer
) -> None:
    put(
        store, {f"raw/{n}.jsonl": jsonl([story(10 * n + m, 4) for m in range(6)]) for n in range(3)}
    )
    everything = taken(store, tokenizer)
    by_score = sorted(
        (document["score"], document["id"]) for file in everything for document in file.documents
    )
    files, counts = chosen(taken(store, tokenizer, most=5), {"s": 5})
    found = sorted(document["id"] for file in files for document in file.documents)
    assert found == sorted(id for _, id in by_score[:5])
    assert counts["read"] == 18 and counts["taken"] == 5 and counts["not chosen"] == 13


@pytest.mark.parametrize("key", ["path", "corpus", "object"])
def test_a_record_that_names_another_object_is_not_taken(
    store: Store, tokenizer: ChatTokenizer, key: str
) -> None:
    """Documents are copied into examples: a planted record must not choose which file is read for them."""
    put(store, {"raw/a.jsonl": jsonl([story(1, 30)])})
    (info,) = resolve(store, SPEC)
    (file,) = taken(store, tokenizer)
    path = file.path.removesuffix(".parquet")
    assert recorded(store, SPEC, info, path) == file
    planted = dict(vars(file)) | {key: "/home/someone/private.parquet"}
    store.write_bytes(f"{path}.json", sealed.dumps(planted))
    assert recorded(store, SPEC, info, path) is None


def test_a_text_in_two_objects_is_taken_once(store: Store, tokenizer: ChatTokenizer) -> None:
    put(store, {f"raw/{n}.jsonl": jsonl([story(1, 4)]) for n in range(3)})
    files, counts = chosen(taken(store, tokenizer), {"s": 100})
    assert len(files) == 1 and counts["taken"] == 1 and counts["repeated"] == 2


def test_documents_are_shared_out_by_weight() -> None:
    recipe = InstructRecipe.model_validate(
        {
            "name": "x",
            "target_context": 512,
            "generator": {"model": "m"},
            "max_documents": 10,
            "corpora": [
                {"name": "a", "path": "a", "weight": 0.9},
                {"name": "b", "path": "b", "weight": 0.1},
            ],
        }
    )
    assert shares(recipe) == {"a": 9, "b": 1}


def test_requests_are_the_same_each_time_and_of_both_styles(
    store: Store, tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    put(store, {"raw/a.jsonl": jsonl([story(n, 20) for n in range(10)])})
    (file,) = taken(store, tokenizer)
    item = {"path": file.path, "documents": json.dumps([row["id"] for row in file.documents])}
    questions = Questions(store, load_prompts(), 3, 7, Sampling(64, 0.7))
    rows = list(questions.requests(item))
    assert rows == list(questions.requests(item))
    assert len({row.id for row in rows}) == len({row.seed for row in rows}) == len(rows)
    styles = Counter(json.loads(row.carry)["style"] for row in rows)
    assert abs(styles["short"] / len(rows) - 0.5) < 0.15
    done = frozenset(row.id for row in rows[:5])
    rest = Questions(store, load_prompts(), 3, 7, Sampling(64, 0.7), done)
    assert list(rest.requests(item)) == rows[5:]
