"""Examples hold their chunk, fit the window as the chat template renders them, and say where it lies."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from longspan.chat.tokenizer import ChatTokenizer
from longspan.generate.parts import PartWriter, read_parts
from longspan.generate.tables import each_row, read_table
from longspan.instruct.examples import TOO_LONG, ExampleWorker, Making
from longspan.instruct.outcome import Outcome, verdict
from longspan.instruct.prompt_files import load_prompts
from longspan.instruct.report import full_report, short_report
from longspan.instruct.schema import Least
from longspan.instruct.sieve import Rejects, approved, distinct, grounded
from longspan.instruct.tables import REPLIES, VERDICTS
from longspan.storage import Store
from tests.instruct.project import until
from tests.instruct.test_documents import taken
from tests.instruct.texts import story
from tests.raw import jsonl, put

WINDOW = 700
VERDICT = {"answerable": True, "correct": True, "supported": True, "score": 4}


def question(id: str, chunk: str, style: str = "normal") -> dict[str, Any]:
    facts = {"id": id, "chunk": chunk, "style": style, "seed": 3, "grounding": 1.0}
    return facts | {"question": f"Who was it, {id}?", "answer": "It was Anna."} | VERDICT


@pytest.fixture
def made(store: Store, tokenizer: ChatTokenizer) -> dict[str, Any]:
    """Examples of a long document, a short one, and one whose chunk is longer than the window."""
    put(store, {"raw/a.jsonl": jsonl([story(1, 60), "Anna was here."])})
    return made_of(store, tokenizer)


def made_of(store: Store, tokenizer: ChatTokenizer) -> dict[str, Any]:
    """Two examples of each chunk of what the store holds."""
    (file,) = taken(store, tokenizer)
    accepted = {
        chunk: [question(f"{chunk}-0", chunk), question(f"{chunk}-1", chunk, "short")]
        for document in file.documents
        for chunk in document["chunks"]
    }
    making = Making(store, "instruct/x/examples", tokenizer, load_prompts(), WINDOW, "m", 1)
    item = {"path": file.path, "documents": [d["id"] for d in file.documents], "name": "part"}
    return ExampleWorker(making, accepted).work(item)


def test_every_example_fits_and_holds_its_chunk(
    store: Store, tokenizer: ChatTokenizer, made: dict[str, Any]
) -> None:
    texts = {
        row["number"]: row["text"]
        for row in each_row(store, "instruct/x/documents/" + documents(store))
    }
    rows = list(each_row(store, made["path"]))
    assert len(rows) == len(made["examples"]) > 40 and not made["left_out"]
    for row in rows:
        user, assistant = row["messages"]
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        chunk = texts[row["number"]][row["chunk_span"]["start"] : row["chunk_span"]["end"]]
        kept = texts[row["number"]][row["kept"]["start"] : row["kept"]["end"]]
        assert chunk in kept and kept in user["content"]
        assert user["content"].index(kept) < user["content"].index("Question: Who was it, ")
        ids = tokenizer.loaded.apply_chat_template(
            row["messages"], tokenize=True, return_dict=False
        )
        assert len(ids) == row["tokens"] <= WINDOW
        before = tokenizer.loaded.decode(ids[: row["chunk_at"]])
        assert before.endswith(kept[: kept.index(chunk)][-20:])
        assert row["position"] == row["chunk_at"] / WINDOW
        assert ("as short as you can" in user["content"]) == (row["style"] == "short")
    long = [row for row in rows if row["number"] == 0]
    # Documents longer than the window fill it; chunks come to lie in all of it.
    assert min(row["tokens"] for row in long) > WINDOW - 12
    assert min(row["position"] for row in long) < 0.3 < 0.6 < max(row["position"] for row in long)
    (short,) = {row["document_tokens"] for row in rows if row["number"] == 1}
    assert short < 20


def documents(store: Store) -> str:
    (item,) = store.list("instruct/x/documents/*.parquet")
    return item.path.rsplit("/", 1)[-1]


def test_the_same_examples_come_out_again(
    store: Store, tokenizer: ChatTokenizer, made: dict[str, Any]
) -> None:
    before = store.read_bytes(made["path"])
    made_of(store, tokenizer)
    assert store.read_bytes(made["path"]) == before


def test_a_chunk_too_long_for_the_window_is_turned_down(
    store: Store, tokenizer: ChatTokenizer
) -> None:
    put(store, {"raw/a.jsonl": jsonl([story(1, 60)])})
    (file,) = taken(store, tokenizer)
    (document,) = file.documents
    chunk = document["chunks"][0]
    making = Making(store, "e", tokenizer, load_prompts(), 120, "m", 1)
    item = {"path": file.path, "documents": [document["id"]], "name": "part"}
    done = ExampleWorker(making, {chunk: [question("q", chunk)]}).work(item)
    assert done["examples"] == [] and done["left_out"] == [("q", TOO_LONG)]
    assert not store.exists("e")


def test_the_generator_may_have_another_tokenizer(
    store: Store, tokenizer: ChatTokenizer, letters: ChatTokenizer
) -> None:
    """Chunks are cut by tokens of many letters, examples measured by tokens of one byte."""
    put(store, {"raw/a.jsonl": jsonl([story(1, 20) + " \u4f60\u597d" * 50])})
    (file,) = taken(store, tokenizer)
    (document,) = file.documents
    accepted = {chunk: [question(chunk, chunk)] for chunk in document["chunks"]}
    making = Making(store, "e", letters, load_prompts(), 1000, "m", 1)
    item = {"path": file.path, "documents": [document["id"]], "name": "part"}
    made = ExampleWorker(making, accepted).work(item)
    assert len(made["examples"]) == len(accepted) > 5
    (stored,) = each_row(store, file.path)
    chunks = {c["id"]: stored["text"][c["start"] : c["end"]] for c in stored["chunks"]}
    for row in each_row(store, made["path"]):
        content = row["messages"][0]["content"]
        assert chunks[row["chunk"]] in content
        assert row["tokens"] == letters.count(row["messages"]) <= 1000


def reply(id: str, **values: Any) -> dict[str, Any]:
    row = {
        "id": id,
        "chunk": "c",
        "style": "normal",
        "seed": 1,
        "problem": "",
        "reply": f"reply {id}",
    }
    row |= {"prompt_tokens": 9, "reply_tokens": 5, "grounding": 1.0, "answer": "Anna"}
    return row | {"question": f"Who sold the {id} in the winter of {id}?"} | values


def judged(id: str, **values: Any) -> dict[str, Any]:
    row = {
        "id": id,
        "reply": json.dumps(VERDICT),
        "problem": "",
        "prompt_tokens": 9,
        "reply_tokens": 5,
    }
    return row | VERDICT | values


def test_everything_that_is_turned_down_has_a_reason(store: Store) -> None:
    writer = PartWriter(store, "replies", REPLIES)
    writer.add([reply(id) for id in ("lantern", "violin", "kettle", "ledger")])
    writer.add([reply("bad", problem="no <question>"), reply("airy", grounding=0.2)])
    writer.add([reply("again", question="Who sold the lantern in the winter of lantern?")])
    writer.close()
    writer.add([reply("lantern", reply="told twice")])  # by a run that was killed and its successor
    writer.close()
    verdicts = PartWriter(store, "verdicts", VERDICTS)
    verdicts.add([judged("lantern", score=5), judged("again"), judged("violin", score=2)])
    verdicts.add(
        [judged("kettle", correct=False), judged("ledger", problem="the verdict is no JSON")]
    )
    verdicts.close()
    rejects = Rejects()
    table = read_parts(store, "replies", REPLIES)
    assert sorted(table.column("id").to_pylist()) == sorted({*table.column("id").to_pylist()})
    rows = grounded(table, 0.5, rejects)
    rows = approved(rows, read_parts(store, "verdicts", VERDICTS), ["correct"], 4, rejects)
    rows = distinct(rows, 0.7, rejects)
    assert [row["id"] for row in rows] == ["lantern"]
    assert {stage: dict(found) for stage, found in rejects.counts.items()} == {
        "replies": {"no <question>": 1},
        "grounding": {"answer not in the chunk": 1},
        "critique": {"score 2, below 4": 1, "judged not correct": 1, "the verdict is no JSON": 1},
        "near duplicates": {"says again what another question says": 1},
    }
    outcome = Outcome(Counter(taken=1), 1, 7, 0, rejects)
    assert [left for _, left in outcome.left_after()] == [7, 7, 6, 5, 2, 1, 1]
    assert "judged not correct" in short_report(outcome)
    why = verdict(outcome, Least(examples=1))
    assert "0 of 7 questions became examples" in why and "'critique': 3" in why
    assert why.count("\n  rejected (") == 2
    assert "**No data set.** 0 of 7" in full_report(store, "x", outcome, why)


def test_a_set_without_documents_says_so() -> None:
    outcome = Outcome(Counter(read=3, empty=2, repeated=1), 0, 0, 0, Rejects())
    assert verdict(outcome, Least()) == (
        "there is nothing to ask about: no document was taken (empty 2, repeated 1)"
    )


def test_parts_are_committed_by_number_and_by_time(store: Store, tmp_path: Path) -> None:
    slow = PartWriter(store, "p", REPLIES, seconds=3600)
    slow.add([reply("a")])
    assert not store.exists("p")
    slow.add([reply(str(n)) for n in range(300)])
    assert len(store.list("p")) == 1
    writer = PartWriter(store, "p", REPLIES, seconds=0.01)
    writer.add([reply("b")])  # Nothing comes after it, and it is committed all the same.
    until(lambda: len(store.list("p")) == 2, 60)
    writer.close()
    slow.close()
    assert len(read_parts(store, "p", REPLIES)) == 302
    assert read_table(store, store.list("p")[0].path).schema.equals(REPLIES)
