"""Training examples: the document with its question, cut to the window around the chunk, and the answer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longspan.chat.tokenizer import ChatTokenizer, Encoded
from longspan.generate.tables import each_row, write_rows
from longspan.hashing import content_id, uniform
from longspan.instruct.prompt_files import Prompts
from longspan.instruct.tables import EXAMPLES
from longspan.instruct.window import Span, fit
from longspan.runtime.map_objects import Json, Worker
from longspan.storage import Store

TOO_LONG = "the chunk, question and answer do not fit the window"
CONTROL = "spells out a control token of the model to be tuned"
GROUP_ROWS = 16

Row = dict[str, Any]


@dataclass(frozen=True)
class Making:
    """What all examples of a set have in common.

    Attributes:
        store: where documents are and examples go.
        folder: of the set's examples in the store.
        tokenizer: with the chat template, of the model to be tuned.
        prompts: the example templates among them.
        window: tokens of the longest example.
        generator: name of the model that wrote questions and answers.
        seed: of the draw of what is kept of a document.
    """

    store: Store
    folder: str
    tokenizer: ChatTokenizer
    prompts: Prompts
    window: int
    generator: str
    seed: int


class ExampleWorker(Worker):
    """Makes the examples of one document file."""

    def __init__(self, making: Making, accepted: Mapping[str, list[Row]]) -> None:
        """`accepted` are the questions to make examples of, by the id of their chunk."""
        os.environ["RAYON_NUM_THREADS"] = "1"  # The actor has one CPU.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self._making, self._accepted = making, accepted

    def work(self, item: Json) -> Json:
        """See `Worker.work`; gives the object, and of each example what the report needs."""
        making = self._making
        wanted = set(item["documents"])
        examples: list[Row] = []
        left_out: list[tuple[str, str]] = []
        for document in each_row(making.store, item["path"]):
            if document["id"] not in wanted:
                continue
            encoded = making.tokenizer.encode(document["text"])
            for chunk in document["chunks"]:
                for question in self._accepted.get(chunk["id"], ()):
                    made = make_example(making, document, encoded, chunk, question)
                    if isinstance(made, str):
                        left_out.append((question["id"], made))
                    else:
                        examples.append(made)
        path = f"{making.folder}/{item['name']}.parquet"
        if examples:
            write_rows(making.store, path, examples, EXAMPLES, GROUP_ROWS)
        facts = [
            {key: row[key] for key in ("id", "tokens", "position", "style", "document", "corpus")}
            | {
                "cut": row["kept"]["end_token"] - row["kept"]["first_token"]
                < row["document_tokens"]
            }
            for row in examples
        ]
        return {"path": path, "examples": facts, "left_out": left_out}


def make_example(
    making: Making, document: Row, encoded: Encoded, chunk: Row, question: Row
) -> Row | str:
    """The example of one question, or why there is none.

    Args:
        making: what all examples have in common.
        document: a row of `tables.DOCUMENTS`.
        encoded: its text, by the tokenizer of the model to be tuned.
        chunk: the chunk asked about, of the document's.
        question: id, question, answer, style, seed, grounding and verdict.
    """
    text, tokenizer = document["text"], making.tokenizer
    # The chunk was cut by the generator's tokenizer, whose tokens may be others.
    span = Span(encoded.token_holding(chunk["start"]), encoded.token_at(chunk["end"]))

    def messages(start: int, end: int) -> Sequence[dict[str, str]]:
        content = making.prompts.example(question["style"], text[start:end], question["question"])
        return [
            {"role": "user", "content": content},
            {"role": "assistant", "content": question["answer"]},
        ]

    def rendered(start: int, end: int) -> int:
        return tokenizer.count(messages(start, end))

    share = uniform("window", making.seed, question["id"])
    kept = fit(encoded, span, making.window, share, rendered)
    if kept is None:
        return TOO_LONG
    if tokenizer.control_token_in(f"{text} {question['question']} {question['answer']}"):
        return CONTROL
    start, end = encoded.character(kept.first), encoded.character(kept.end)
    turns = messages(start, end)
    tokens, at = _layout(tokenizer, turns, text[start:end], chunk["start"] - start)
    verdict = {key: question[key] for key in ("answerable", "correct", "supported", "score")}
    return {
        "id": content_id(turns),
        "messages": turns,
        "question": question["question"],
        "tokens": tokens,
        "document": document["id"],
        "corpus": document["corpus"],
        "object": document["object"],
        "number": document["number"],
        "document_tokens": len(encoded),
        "kept": _span(encoded, kept),
        "chunk": chunk["id"],
        "chunk_span": _span(encoded, span),
        "chunk_at": at,
        "position": at / making.window,
        "style": question["style"],
        "generator": making.generator,
        "prompts": making.prompts.hash,
        "seed": question["seed"],
        "grounding": question["grounding"],
    } | verdict


def _span(document: Encoded, span: Span) -> Row:
    return {
        "start": document.character(span.first),
        "end": document.character(span.end),
        "first_token": span.first,
        "end_token": span.end,
    }


def _layout(
    tokenizer: ChatTokenizer, turns: Sequence[dict[str, str]], shown: str, chunk: int
) -> tuple[int, int]:
    """Tokens of an example, and at which of them the chunk begins, `chunk` characters into what is shown."""
    text = tokenizer.render(turns)
    encoded = tokenizer.encode(text)
    # A template may strip a turn, but not what stands inside it.
    return len(encoded), encoded.token_at(max(0, text.find(shown)) + chunk)
