"""A small OpenAI-compatible server: asks and answers about the stories of `texts`, and judges well."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.instruct.texts import FACT

MODEL = "storyteller"
REFUSED = "Zoe kept a mirror"
"""A chunk that says this is refused, as one that is too long would be."""


class Server(ThreadingHTTPServer):
    """Listens on the loopback interface; counts what it is asked."""

    daemon_threads = True

    def __init__(self, key: str | None, seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.key, self.seconds = key, seconds
        self.busy = 0
        """So many requests are turned away first."""
        self.rubbish = False
        """Whether no reply is of any use."""
        self.redirect: str | None = None
        """The address, like `url`, of another server that requests are sent on to."""
        self.requests = 0
        self.asked: list[str] = []
        """Hashes of the requests that were replied to."""
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


@contextmanager
def serving(key: str | None = None, seconds: float = 0.0) -> Iterator[Server]:
    """A server that takes `seconds` for a reply, and knows one key."""
    server = Server(key, seconds)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def request_hash(content: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {content}".encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: Server  # pyrefly: ignore
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self._let_in():
            self._send(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._let_in():
            return
        with self.server.lock:
            busy, self.server.busy = self.server.busy, max(0, self.server.busy - 1)
        content = body["messages"][0]["content"]
        if busy:
            self._send(503, {"error": {"message": "busy"}})
        elif REFUSED in content and "response_format" not in body:
            self._send(400, {"error": {"message": "this content is refused"}})
        else:
            time.sleep(self.server.seconds)
            with self.server.lock:
                self.server.asked.append(request_hash(content, body["seed"]))
            useless = "Once upon a time, once upon a time"
            reply = useless if self.server.rubbish else _reply(body, content)
            self._send(200, _completion(reply))

    def _let_in(self) -> bool:
        with self.server.lock:
            self.server.requests += 1
        if self.server.redirect:
            self.send_response(307)
            self.send_header("Location", self.server.redirect + self.path.removeprefix("/v1"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        key = self.server.key
        if key is None or self.headers.get("Authorization") == f"Bearer {key}":
            return True
        self._send(401, {"error": {"message": "wrong key"}})
        return False

    def _send(self, status: int, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


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


def _completion(text: str) -> dict[str, Any]:
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    message = {"role": "assistant", "content": re.sub(r"</answer>$", "", text)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    facts = {"id": "x", "object": "chat.completion", "created": 1, "model": MODEL}
    return facts | {"choices": [choice], "usage": usage}
