"""A small OpenAI-compatible server on the loopback interface, whose replies a test writes."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Body = dict[str, Any]


@dataclass(frozen=True)
class Completion:
    """A reply."""

    text: str
    finish_reason: str = "stop"
    prompt_tokens: int = 100
    reply_tokens: int = 20


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, message: str, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class OpenAIServer(ThreadingHTTPServer):
    """Serves one model's chat and completion APIs while it is entered.

    Args:
        model: its name.
        answer: reply to the body of a request; may raise `Refusal`.
        key: API key that requests must carry; None: any.
        window: `max_model_len` that it states; None: none.
    """

    daemon_threads = True

    def __init__(
        self,
        model: str,
        answer: Callable[[Body], Completion],
        key: str | None = None,
        window: int | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model, self.answer, self.key, self.window = model, answer, key, window
        self.tokenize: Callable[[Body], list[int]] | None = None
        """Token ids for the body of a request to `/tokenize`; None: there is no such route."""
        self.busy = 0
        """So many requests are turned away first."""
        self.redirect: str | None = None
        """The address, like `url`, of another server that requests are sent on to."""
        self.requests = 0
        self.lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: OpenAIServer  # pyrefly: ignore
    protocol_version = "HTTP/1.1"
    # One packet for headers and content: between two the kernel waits 40 ms for an acknowledgment.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self._let_in():
            model: dict[str, Any] = {"id": self.server.model, "object": "model"}
            if self.server.window:
                model["max_model_len"] = self.server.window
            self._send(200, {"object": "list", "data": [model]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._let_in():
            return
        if self.path == "/tokenize":
            self._tokenize(body)
            return
        with self.server.lock:
            busy, self.server.busy = self.server.busy, max(0, self.server.busy - 1)
        if busy:
            self._send(503, {"error": {"message": "busy"}})
            return
        try:
            completion = self.server.answer(body)
        except Refusal as refusal:
            error = {"message": str(refusal), "code": refusal.code}
            self._send(refusal.status, {"error": error})
            return
        self._send(200, _response(self.server.model, completion, is_chat="messages" in body))

    def _tokenize(self, body: Body) -> None:
        if self.server.tokenize is None:
            self._send(404, {"error": {"message": "no such route"}})
            return
        self._send(200, {"tokens": self.server.tokenize(body)})

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


def _response(model: str, completion: Completion, *, is_chat: bool) -> dict[str, Any]:
    tokens = (completion.prompt_tokens, completion.reply_tokens)
    usage = {
        "prompt_tokens": tokens[0],
        "completion_tokens": tokens[1],
        "total_tokens": sum(tokens),
    }
    text = completion.text
    said = {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
    choice = {"index": 0, "finish_reason": completion.finish_reason, **said}
    kind = "chat.completion" if is_chat else "text_completion"
    facts = {"id": "x", "object": kind, "created": 1, "model": model}
    return facts | {"choices": [choice], "usage": usage}
