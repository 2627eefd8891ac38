"""A stand-in of the metadata service of a cloud instance."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Instance(ThreadingHTTPServer):
    """IMDSv2: tokens are asked for, expire, and are wanted for everything else."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tokens: list[str] = []
        self.notice: dict[str, str] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    @property
    def instance(self) -> Instance:
        assert isinstance(self.server, Instance)
        return self.server

    def do_PUT(self) -> None:
        good = self.path == "/latest/api/token"
        good &= int(self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", 0)) > 0
        if good:
            self.instance.tokens = [f"token-{len(self.instance.tokens)}-{id(self)}"]
        self.reply(200 if good else 400, self.instance.tokens[-1] if good else "")

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") not in self.instance.tokens:
            self.reply(401, "")
        elif self.path != "/latest/meta-data/spot/instance-action" or not self.instance.notice:
            self.reply(404, "")
        else:
            self.reply(200, json.dumps(self.instance.notice))

    def reply(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Instance]:
    """A service that answers as long as the context lasts."""
    server = Instance()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
