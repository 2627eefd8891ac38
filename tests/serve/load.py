"""Clients that go on asking while something happens to the service."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.serve.service import PATIENCE, QUESTION, Service

BREATH = 1.0
"""Seconds."""


@dataclass
class Load:
    """What clients met."""

    answers: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@contextmanager
def load(service: Service, clients: int = 2) -> Iterator[Load]:
    """Clients that ask one question after another, for streams and whole answers by turns.

    They breathe in between, or they would leave a starting replica no CPU.
    """
    met, over = Load(), threading.Event()

    def ask(number: int) -> None:
        while not over.wait(BREATH):
            number += 1
            try:
                met.answers.append(streamed(service) if number % 2 else service.answer())
            except Exception as error:
                met.errors.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield met
    finally:
        over.set()
        for thread in threads:
            thread.join()


def streamed(service: Service) -> str:
    """The same answer as a stream, which has to come to its end."""
    body = {"model": "tiny", "messages": QUESTION, "max_tokens": 16, "temperature": 0}
    url = f"{service.url}/v1/chat/completions"
    with httpx.stream(
        "POST", url, json=body | {"stream": True}, headers=service.headers, timeout=PATIENCE
    ) as reply:
        reply.raise_for_status()
        events = [line.removeprefix("data: ") for line in reply.iter_lines() if line]
    assert events[-1] == "[DONE]"
    return "".join(
        json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events[:-1]
    )


@contextmanager
def busy(service: Service) -> Iterator[None]:
    """One long answer after another, each of more tokens than one replica is for."""
    body = {"model": "tiny", "prompt": "The", "max_tokens": 900, "ignore_eos": True}
    failed, over = [], threading.Event()

    def keep_busy() -> None:
        while not over.is_set():
            reply = service.post("/v1/completions", body)
            if reply.status_code != 200:
                failed.append((reply.headers.get("x-request-id"), reply.text))

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert failed == []
