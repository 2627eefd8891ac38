"""Requests for questions and for verdicts on chunks of documents, and the records of their replies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from longspan.generate.requests import Reply, Request, Row, Sampling
from longspan.generate.tables import each_row
from longspan.hashing import content_id, sampling_seed, uniform
from longspan.instruct.documents import DocumentFile
from longspan.instruct.grounding import grounding
from longspan.instruct.prompt_files import Prompts, Style
from longspan.instruct.replies import Pair, parse
from longspan.instruct.verdicts import Verdict, parse_verdict, verdict_schema
from longspan.storage import Store

ITEM_CHUNKS = 128
"""Chunks of an item, about: as many as make a task worth its start."""


def items_of(files: Sequence[DocumentFile]) -> list[Row]:
    """Return items of some documents of a file each: its path and, as JSON, their ids."""
    items: list[Row] = []
    for file in files:
        ids: list[str] = []
        chunks = 0
        for document in file.documents:
            ids.append(document["id"])
            chunks += len(document["chunks"])
            if chunks >= ITEM_CHUNKS:
                items.append({"path": file.path, "documents": json.dumps(ids)})
                ids, chunks = [], 0
        if ids:
            items.append({"path": file.path, "documents": json.dumps(ids)})
    return items


def question_id(chunk: str, number: int, prompts: str, seed: int) -> str:
    """Identity of a request for a question."""
    return content_id(chunk, number, prompts, seed)


def style_of(chunk: str, number: int, seed: int) -> Style:
    """Which of the two styles a question has, each with equal odds."""
    return "normal" if uniform("style", seed, chunk, number) < 0.5 else "short"


@dataclass(frozen=True)
class Questions:
    """Requests for a question and its answer, so many about each chunk."""

    store: Store
    prompts: Prompts
    per_chunk: int
    seed: int
    sampling: Sampling
    done: frozenset[str] = frozenset()
    """Ids of requests that were replied to."""

    def requests(self, item: Row) -> Iterator[Request]:
        """See `RequestSource.requests`; those about one chunk follow each other."""
        asked_with = self.prompts.hash_of("question")
        for chunk, text in _chunks(self.store, item):
            for number in range(self.per_chunk):
                id = question_id(chunk, number, asked_with, self.seed)
                if id in self.done:
                    continue
                style = style_of(chunk, number, self.seed)
                seed = sampling_seed("question", self.seed, chunk, number)
                carry = {"chunk": chunk, "style": style, "seed": seed, "text": text}
                yield Request(
                    id,
                    self.sampling,
                    seed,
                    content=self.prompts.ask(style, text),
                    carry=json.dumps(carry),
                )

    def record(self, reply: Reply) -> Row:
        """See `RequestSource.record`."""
        carry = json.loads(reply.carry)
        found: Pair | str = (
            reply.failure.message
            if reply.failure
            else parse(reply.text, cut_off=reply.reply_tokens >= self.sampling.max_tokens)
        )
        pair = found if isinstance(found, Pair) else Pair("", "")
        return _kept(reply) | {
            "problem": "" if isinstance(found, Pair) else found,
            "chunk": carry["chunk"],
            "style": carry["style"],
            "seed": carry["seed"],
            "question": pair.question,
            "answer": pair.answer,
            "grounding": grounding(pair.answer, carry["text"]) if pair.answer else 0.0,
        }


@dataclass(frozen=True)
class Judgements:
    """Requests for a verdict on questions and answers."""

    store: Store
    prompts: Prompts
    seed: int
    max_tokens: int
    candidates: Mapping[str, list[tuple[str, str, str]]]
    """Of each chunk: id of the question, question, answer."""

    @property
    def sampling(self) -> Sampling:
        """The likeliest verdict, in the form that can be read."""
        return Sampling(self.max_tokens, 0.0, schema=json.dumps(verdict_schema()))

    def requests(self, item: Row) -> Iterator[Request]:
        """See `RequestSource.requests`."""
        for chunk, text in _chunks(self.store, item):
            for id, question, answer in self.candidates.get(chunk, ()):
                yield Request(
                    id,
                    self.sampling,
                    sampling_seed("verdict", self.seed, id),
                    content=self.prompts.judge(text, question, answer),
                )

    def record(self, reply: Reply) -> Row:
        """See `RequestSource.record`."""
        found = reply.failure.message if reply.failure else parse_verdict(reply.text)
        if isinstance(found, str) and not reply.failure:
            cut_off = reply.reply_tokens >= self.max_tokens
            found = "the verdict is cut off at max_tokens" if cut_off else found
        empty = dict.fromkeys(Verdict.model_fields)
        verdict = found.model_dump() if isinstance(found, Verdict) else empty
        problem = "" if isinstance(found, Verdict) else found
        return _kept(reply) | verdict | {"problem": problem}


def _kept(reply: Reply) -> Row:
    return {
        "id": reply.id,
        "reply": reply.text,
        "prompt_tokens": reply.prompt_tokens,
        "reply_tokens": reply.reply_tokens,
    }


def _chunks(store: Store, item: Row) -> Iterator[tuple[str, str]]:
    """Ids and texts of the chunks of an item's documents."""
    wanted = set(json.loads(item["documents"]))
    for document in each_row(store, item["path"]):
        if document["id"] in wanted:
            for chunk in document["chunks"]:
                yield chunk["id"], document["text"][chunk["start"] : chunk["end"]]
