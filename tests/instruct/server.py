"""A small OpenAI-compatible server: asks and answers about the stories of `texts`, and judges well."""

import hashlib
import json
import re
import time
from typing import Any

from tests.instruct.texts import FACT
from tests.openai_server import Body, Completion, OpenAIServer, Refusal

MODEL = "storyteller"
REFUSED = "Zoe kept a mirror"
"""A chunk that says this is refused, as one that is too long would be."""


class Server(OpenAIServer):
    """Counts what it is asked."""

    def __init__(self, key: str | None, seconds: float) -> None:
        super().__init__(MODEL, self._answer, key)
        self.seconds = seconds
        self.rubbish = False
        """Whether no reply is of any use."""
        self.asked: list[str] = []
        """Hashes of the requests that were replied to."""

    def _answer(self, body: Body) -> Completion:
        content = body["messages"][0]["content"]
        if REFUSED in content and "response_format" not in body:
            raise Refusal("this content is refused")
        time.sleep(self.seconds)
        with self.lock:
            self.asked.append(request_hash(content, body["seed"]))
        useless = "Once upon a time, once upon a time"
        reply = useless if self.rubbish else _reply(body, content)
        return Completion(re.sub(r"</answer>$", "", reply))


def serving(key: str | None = None, seconds: float = 0.0) -> Server:
    """A server that takes `seconds` for a reply, and knows one key."""
    return Server(key, seconds)


def request_hash(content: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {content}".encode()).hexdigest()


def _reply(body: dict[str, Any], content: str) -> str:
    seed = body["seed"]
    facts = FACT.findall(content)
    if "response_format" in body:
        good = seed % 7 != 0
        return json.dumps({"answerable": True, "correct": good, "supported": good, "score": 5})
    if seed % 11 == 0:
        return "I would rather not."
    name, thing, house = facts[seed % len(facts)]
    return f"<question>What did {name} keep in house {house}?</question>\n<answer>A {thing}."
