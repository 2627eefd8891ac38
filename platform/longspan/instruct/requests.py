"""What the generator is asked, document file by document file, and what is kept of its replies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from longspan.hashing import content_id, sampling_seed, uniform
from longspan.instruct.grounding import grounding
from longspan.instruct.prompt_files import Prompts, Style
from longspan.instruct.replies import Pair, parse
from longspan.instruct.tables import each_row
from longspan.instruct.verdicts import Verdict, parse_verdict, verdict_schema
from longspan.storage import Store

Row = dict[str, Any]


@dataclass(frozen=True)
class Sampling:
    """How replies are generated.

    Attributes:
        max_tokens: longest reply.
        temperature: 0 takes the likeliest token each time.
        top_p: see any API.
        stop: what a reply ends with.
        schema: JSON schema, as JSON, that decoding is held to; None is free text.
    """

    max_tokens: int
    temperature: float
    top_p: float = 1.0
    stop: str | None = None
    schema: str | None = None


class Asking(Protocol):
    """One kind of request: made from document files, and turned into a record when replied to."""

    @property
    def sampling(self) -> Sampling:
        """Of its replies."""
        ...

    def requests(self, item: Row) -> Iterator[Row]:
        """Requests about some documents of a file: id, content (the user's turn), seed, carry (JSON).

        `item` holds the file's path and, as JSON, the ids of the documents.
        """
        ...

    def record(self, outcome: Row) -> Row:
        """What is kept of id, carry, reply, prompt_tokens, reply_tokens, seconds and problem.

        A problem is why there is no reply, "" where there is one; seconds are those since the request
        was handed over.
        """
        ...


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

    def requests(self, item: Row) -> Iterator[Row]:
        """See `Asking.requests`; those about one chunk follow each other."""
        asked_with = self.prompts.hash_of("question")
        for chunk, text in _chunks(self.store, item):
            for number in range(self.per_chunk):
                id = question_id(chunk, number, asked_with, self.seed)
                if id in self.done:
                    continue
                style = style_of(chunk, number, self.seed)
                seed = sampling_seed("question", self.seed, chunk, number)
                carry = {"chunk": chunk, "style": style, "seed": seed, "text": text}
                yield {
                    "id": id,
                    "content": self.prompts.ask(style, text),
                    "seed": seed,
                    "carry": json.dumps(carry),
                }

    def record(self, outcome: Row) -> Row:
        """See `Asking.record`."""
        carry = json.loads(outcome["carry"])
        found: Pair | str = outcome["problem"] or parse(
            outcome["reply"], cut_off=outcome["reply_tokens"] >= self.sampling.max_tokens
        )
        pair = found if isinstance(found, Pair) else Pair("", "")
        return _outcome(outcome) | {
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

    def requests(self, item: Row) -> Iterator[Row]:
        """See `Asking.requests`."""
        for chunk, text in _chunks(self.store, item):
            for id, question, answer in self.candidates.get(chunk, ()):
                yield {
                    "id": id,
                    "content": self.prompts.judge(text, question, answer),
                    "seed": sampling_seed("verdict", self.seed, id),
                    "carry": "{}",
                }

    def record(self, outcome: Row) -> Row:
        """See `Asking.record`."""
        found: Verdict | str = outcome["problem"] or parse_verdict(outcome["reply"])
        if isinstance(found, str) and not outcome["problem"]:
            cut_off = outcome["reply_tokens"] >= self.max_tokens
            found = "the verdict is cut off at max_tokens" if cut_off else found
        empty = dict.fromkeys(Verdict.model_fields)
        verdict = found.model_dump() if isinstance(found, Verdict) else empty
        problem = "" if isinstance(found, Verdict) else found
        return _outcome(outcome) | verdict | {"problem": problem}


def _outcome(outcome: Row) -> Row:
    # The seconds are for progress; they are not kept.
    kept = ("id", "reply", "prompt_tokens", "reply_tokens", "seconds")
    return {key: outcome[key] for key in kept}


def _chunks(store: Store, item: Row) -> Iterator[tuple[str, str]]:
    """Ids and texts of the chunks of an item's documents."""
    wanted = set(json.loads(item["documents"]))
    for document in each_row(store, item["path"]):
        if document["id"] in wanted:
            for chunk in document["chunks"]:
                yield chunk["id"], document["text"][chunk["start"] : chunk["end"]]
