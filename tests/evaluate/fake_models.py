"""Models whose scores are known, behind a real HTTP server; tasks of exact length over a tokenizer of bytes."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import SecretStr

from longspan.evaluate.documents import documents_hash
from longspan.evaluate.samples import Family, ProbeSource, Sample, Scoring
from longspan.generate.endpoint import EndpointAccess
from longspan.generate.schema import Endpoint
from longspan.hashing import content_id, uniform
from tests.evaluate.probe_fixtures import document
from tests.openai_server import Body, Completion, OpenAIServer

MODEL = "fake"
FACT = re.compile(r"The code is (\d{6})\.")
QUESTION = " Which codes are there?"

Model = Callable[[str], str]
"""Reply to a prompt."""


class Bytes:
    """A prompt format whose tokens are the bytes of the text."""

    hash = "bytes"

    def prompt_ids(self, text: str, answer_prefix: str) -> list[int]:
        return list((text + answer_prefix).encode())

    def count(self, text: str) -> int:
        return len(text.encode())


@dataclass(frozen=True)
class Codes:
    """Codes in a text of stars: the first of them at the sample's depth, others right after it."""

    name: str
    codes: int = 1
    version: int = 1
    family: Family = "retrieval"
    scoring: Scoring = "contains_all"
    max_tokens: int = 16
    salt: str | None = None
    """What samples depend on besides their source."""

    def context_id(self, source: ProbeSource, index: int) -> str:
        return source.documents[index % len(source.documents)].id

    def problem(self, source: ProbeSource, length: int) -> str | None:
        return None if length >= 128 else "too short"

    def sample_id(self, source: ProbeSource, length: int, index: int) -> str:
        id = source.sample_id(self.name, self.version, length, index)
        return id if self.salt is None else content_id(id, self.salt)

    def sample(self, source: ProbeSource, length: int, index: int) -> Sample:
        draw = source.rng(self.name, length, index)
        codes = tuple(str(draw.randrange(100_000, 1_000_000)) for _ in range(self.codes))
        facts = "".join(f"The code is {code}." for code in codes)
        rest = length - self.max_tokens - len(facts) - len(QUESTION)
        start = round(source.depth(index) * rest)
        text = "*" * start + facts + "*" * (rest - start) + QUESTION
        return Sample(
            id=self.sample_id(source, length, index),
            task=self.name,
            length=length,
            index=index,
            depth=source.depth(index),
            text=text,
            answer_prefix="",
            references=codes,
            scoring=self.scoring,
            max_tokens=self.max_tokens,
            stop=("\n",),
            cluster=self.context_id(source, index),
            evidence=((start, start + len(facts)),),
        )


def fake_source(depths: int = 5) -> ProbeSource:
    documents = tuple(document(text) for text in ("one", "two", "three"))
    return ProbeSource(documents, documents_hash(documents), Bytes(), seed=1, depths=depths)


def perfect(prompt: str) -> str:
    """Finds everything."""
    return ", ".join(FACT.findall(prompt))


def empty(prompt: str) -> str:
    """Finds nothing."""
    return ""


def last(tokens: int) -> Model:
    """Sees the last tokens of a prompt only."""
    return lambda prompt: perfect(prompt[-tokens:])


def coin(share: float) -> Model:
    """Answers this share of prompts, by their hash."""
    return lambda prompt: perfect(prompt) if uniform("coin", prompt) < share else "no idea"


class FakeServer(OpenAIServer):
    """Serves a fake model; counts how often it answered each prompt, and keeps the last body."""

    def __init__(self, model: Model, window: int | None = None) -> None:
        super().__init__(MODEL, self._answer, window=window)
        self.reply = model
        self.asked: Counter[str] = Counter()
        self.on_answer: Callable[[int], None] = lambda answered: None
        """Called before each reply with the number of replies so far."""

    def _answer(self, body: Body) -> Completion:
        is_chat = "messages" in body
        prompt = body["messages"][0]["content"] if is_chat else bytes(body["prompt"]).decode()
        with self.lock:
            answered = self.asked.total()
            self.asked[prompt] += 1
        self.on_answer(answered)
        text = self.reply(prompt)
        finish = "length" if len(text) >= body["max_tokens"] else "stop"
        return Completion(text[: body["max_tokens"]], finish, len(prompt), len(text))

    def access(self, window: int | None = None, requests: int = 2) -> EndpointAccess:
        facts = {"url": self.url, "model": MODEL, "requests": requests, "retries": 0}
        endpoint = Endpoint.model_validate(facts)
        return EndpointAccess(endpoint, SecretStr("none"), "endpoint", window)
